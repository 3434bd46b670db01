"""Serves MP4 and MOV files over RTSP with digest authentication: gst_files.py [--tls=PEM] PATH=CODINGS=FILE…

With --tls over TLS, with the certificate and key of that file. CODINGS is h264 or h265, with sound `h264+aac` or `h264+alaw`. Prints its port once it listens. Each client gets the file
of its path from the start, at its own pace.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer

Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service("0")

token = GstRtspServer.RTSPToken()
token.set_string("media.factory.role", "viewer")
auth = GstRtspServer.RTSPAuth()
auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
auth.add_digest("viewer", "a pass: word", token)
arguments = sys.argv[1:]
if arguments[0].startswith("--tls="):
    auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(arguments.pop(0).removeprefix("--tls=")))
server.set_auth(auth)

permissions = GstRtspServer.RTSPPermissions()
permissions.add_permission_for_role("viewer", "media.factory.access", True)
permissions.add_permission_for_role("viewer", "media.factory.construct", True)

SOUND = {"aac": "aacparse ! rtpmp4gpay name=pay1 pt=97", "alaw": "rtppcmapay name=pay1 pt=8"}

for argument in arguments:
    path, codings, file = argument.split("=", 2)
    video, _, audio = codings.partition("+")
    branches = f"d.video_0 ! queue ! {video}parse ! rtp{video}pay name=pay0 pt=96"
    if audio:
        branches += f" d.audio_0 ! queue ! {SOUND[audio]}"
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f'( filesrc location="{file}" ! qtdemux name=d {branches} )')
    factory.set_permissions(permissions)
    server.get_mount_points().add_factory(f"/{path}", factory)

server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
