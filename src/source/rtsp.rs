//! RTSP cameras: the only file that names retina.
