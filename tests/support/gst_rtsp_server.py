"""Serves elementary streams over RTSP with GStreamer: gst_rtsp_server.py PATH=FILE…

A file's extension, .h264 or .h265, names its coding. Prints its port once it listens, on a port that the system chose.
Each client gets the stream of its path, from the start, at 25 pictures a second, and the end of the session after it.
"""

import pathlib
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer

Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service("0")

for argument in sys.argv[1:]:
    path, file = argument.split("=", 1)
    codec = pathlib.Path(file).suffix[1:]
    factory = GstRtspServer.RTSPMediaFactory()
    # A byte stream has no timestamps: the parser counts pictures, from the frame rate that the caps state.
    factory.set_launch(
        f'( filesrc location="{file}" ! video/x-{codec},stream-format=byte-stream,framerate=25/1'
        f" ! {codec}parse ! rtp{codec}pay name=pay0 pt=96 config-interval=-1 )"
    )
    server.get_mount_points().add_factory(f"/{path}", factory)

server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
