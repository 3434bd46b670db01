//! Which of a camera's streams are recorded, and their sample descriptions.

use bytes::Bytes;
use retina::client::Stream;
use retina::codec::{AudioParameters, ParametersRef, VideoParameters};

use crate::media::{AudioParams, VideoCodec, VideoParams};

use super::failure::clean;

/// The streams to set up, and those not to.
pub(super) struct Choice {
    pub(super) video: VideoStream,
    pub(super) audio: Option<AudioStream>,
    pub(super) also_offered: Vec<String>,
}

/// The video stream, by its place in the camera's description.
#[derive(Clone, Copy, Debug)]
pub(super) struct VideoStream {
    pub(super) stream: usize,
    pub(super) codec: VideoCodec,
}

/// The audio stream.
pub(super) struct AudioStream {
    pub(super) stream: usize,
    pub(super) params: AudioParams,
}

impl Choice {
    /// The first H.264 or H.265 stream and, if wanted, the first audio stream that MP4 can hold. Without video, an
    /// error: what is offered instead.
    pub(super) fn among(streams: &[Stream], want_audio: bool) -> Result<Self, Vec<String>> {
        let video = streams.iter().enumerate().find_map(|(stream, s)| {
            let codec = match (s.media(), s.encoding_name()) {
                ("video", "h264") => VideoCodec::H264,
                ("video", "h265") => VideoCodec::H265,
                _ => return None,
            };
            Some(VideoStream { stream, codec })
        });
        let Some(video) = video else {
            return Err(streams.iter().map(offered).collect());
        };
        let audio = want_audio
            .then(|| {
                let recordable = |(stream, s): (usize, &Stream)| {
                    let params = audio_params(s)?;
                    Some(AudioStream { stream, params })
                };
                streams.iter().enumerate().find_map(recordable)
            })
            .flatten();
        let mut choice = Self { video, audio, also_offered: Vec::new() };
        choice.list_others(streams);
        Ok(choice)
    }

    /// Goes on without sound.
    pub(super) fn forgo_audio(&mut self, streams: &[Stream]) {
        self.audio = None;
        self.list_others(streams);
    }

    fn list_others(&mut self, streams: &[Stream]) {
        let taken = |i: usize| i == self.video.stream || self.audio.as_ref().is_some_and(|a| a.stream == i);
        self.also_offered = streams.iter().enumerate().filter(|(i, _)| !taken(*i)).map(|(_, s)| offered(s)).collect();
    }
}

impl VideoStream {
    /// The sample description as of the last picture, once the parameter sets are known.
    pub(super) fn params(&self, streams: &[Stream]) -> Option<VideoParams> {
        match streams.get(self.stream)?.parameters()? {
            ParametersRef::Video(video) => video_params(video, self.codec),
            ParametersRef::Audio(_) | ParametersRef::Message(_) => None,
        }
    }
}

/// A stream as the camera's page shows it.
fn offered(stream: &Stream) -> String {
    if stream.encoding_name().starts_with("vnd.onvif.metadata") {
        return "onvif metadata".to_owned();
    }
    let mut text = format!("{} {}/{}", stream.media(), stream.encoding_name(), stream.clock_rate_hz());
    if let Some(channels) = stream.channels().filter(|c| c.get() > 1) {
        text.push_str(&format!("/{channels}"));
    }
    clean(&text, 60)
}

fn video_params(video: &VideoParameters, codec: VideoCodec) -> Option<VideoParams> {
    let (width, height) = video.pixel_dimensions();
    let mut entry = video.mp4_sample_entry();
    if let Some((h, v)) = video.pixel_aspect_ratio().filter(|(h, v)| h != v)
        && let (Ok(h), Ok(v)) = (u16::try_from(h), u16::try_from(v))
    {
        entry = entry.with_aspect_ratio((h, v));
    }
    Some(VideoParams {
        codec,
        width: u16::try_from(width).ok()?,
        height: u16::try_from(height).ok()?,
        sample_entry: Bytes::from(entry.build().ok()?),
        rfc6381: video.rfc6381_codec().to_owned(),
    })
}

fn audio_params(stream: &Stream) -> Option<AudioParams> {
    let Some(ParametersRef::Audio(audio)) = stream.parameters() else { return None };
    let sample_entry = match stream.encoding_name() {
        "pcma" => g711_sample_entry(*b"alaw", audio)?,
        "pcmu" => g711_sample_entry(*b"ulaw", audio)?,
        _ => audio.mp4_sample_entry().build().ok()?,
    };
    Some(AudioParams {
        clock_rate: audio.clock_rate(),
        sample_entry: Bytes::from(sample_entry),
        rfc6381: audio.rfc6381_codec().map(str::to_owned),
    })
}

/// An `AudioSampleEntry` of version 0 (ISO/IEC 14496-12 §12.2.3) with the codes that QuickTime registered for G.711:
/// 16 bits is the size of a decoded sample. `None` for a clock rate that 16.16 fixed point cannot hold.
fn g711_sample_entry(code: [u8; 4], audio: &AudioParameters) -> Option<Vec<u8>> {
    let rate = u16::try_from(audio.clock_rate()).ok()?;
    let mut entry = Vec::with_capacity(36);
    entry.extend_from_slice(&36u32.to_be_bytes());
    entry.extend_from_slice(&code);
    entry.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1]); // reserved, data_reference_index
    entry.extend_from_slice(&[0; 8]); // reserved: version, revision and vendor in QuickTime
    entry.extend_from_slice(&audio.channels().get().to_be_bytes());
    entry.extend_from_slice(&16u16.to_be_bytes()); // samplesize
    entry.extend_from_slice(&[0; 4]); // pre_defined, reserved
    entry.extend_from_slice(&(u32::from(rate) << 16).to_be_bytes());
    Some(entry)
}
