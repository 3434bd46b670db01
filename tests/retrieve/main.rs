//! Retrieval from real packs of real footage, judged by ffmpeg: pictures handed back equal those that went in.

mod browser;
mod day;
mod hls;
mod mp4;
mod real;
mod rig;
mod snapshot;
mod timeline;
