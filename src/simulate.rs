//! A simulated camera: a real RTSP 1.0 server over TCP and UDP that loops an elementary stream, and misbehaves on demand.
