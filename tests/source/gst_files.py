"""Serves MP4 files over RTSP with digest authentication: gst_files.py H264-FILE H265-FILE.

Prints its port once it listens. Each client gets the file of its path, /h264 or /h265, from the start, at its own pace.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer

Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service("0")

token = GstRtspServer.RTSPToken()
token.set_string("media.factory.role", "viewer")
auth = GstRtspServer.RTSPAuth()
auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
auth.add_digest("viewer", "a pass: word", token)
server.set_auth(auth)

permissions = GstRtspServer.RTSPPermissions()
permissions.add_permission_for_role("viewer", "media.factory.access", True)
permissions.add_permission_for_role("viewer", "media.factory.construct", True)

for codec, path in zip(("h264", "h265"), sys.argv[1:]):
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f'( filesrc location="{path}" ! qtdemux ! {codec}parse ! rtp{codec}pay name=pay0 pt=96 )')
    factory.set_permissions(permissions)
    server.get_mount_points().add_factory(f"/{codec}", factory)

server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
