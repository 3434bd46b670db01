//! Which of a camera's streams are recorded, and their sample descriptions.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use retina::codec::{AudioParameters, Depacketizer, ParametersRef};

use footage::media::{AudioParams, VideoCodec};

use super::description::{Description, Media};
use super::direct::SoundCoding;
use super::failure::clean;

/// Samples of a frame of AAC where its configuration does not say (ISO/IEC 14496-3 §4.5.2.1).
const AAC_FRAME_SAMPLES: i64 = 1_024;

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
    pub(super) coding: SoundCoding,
    pub(super) params: AudioParams,
}

impl Choice {
    /// The first H.264 or H.265 stream and, if wanted, the first audio stream that MP4 can hold. Without video, an
    /// error: what is offered instead.
    pub(super) fn among(description: &Description, want_audio: bool) -> Result<Self, Vec<String>> {
        let media = &description.media;
        let video = media.iter().enumerate().find_map(|(stream, m)| Some(VideoStream { stream, codec: m.codec()? }));
        let Some(video) = video else {
            return Err(media.iter().map(offered).collect());
        };
        let recordable = |(stream, m): (usize, &Media)| {
            let (coding, params) = audio_params(m)?;
            Some(AudioStream { stream, coding, params })
        };
        let audio = if want_audio { media.iter().enumerate().find_map(recordable) } else { None };
        let mut choice = Self { video, audio, also_offered: Vec::new() };
        choice.list_others(description);
        Ok(choice)
    }

    /// Goes on without sound.
    pub(super) fn forgo_audio(&mut self, description: &Description) {
        self.audio = None;
        self.list_others(description);
    }

    fn list_others(&mut self, description: &Description) {
        let taken = |i: usize| i == self.video.stream || self.audio.as_ref().is_some_and(|a| a.stream == i);
        let others = description.media.iter().enumerate().filter(|(i, _)| !taken(*i));
        self.also_offered = others.map(|(_, m)| offered(m)).collect();
    }
}

/// A stream as the camera's page shows it.
fn offered(media: &Media) -> String {
    if media.encoding.starts_with("vnd.onvif.metadata") {
        return "onvif metadata".to_owned();
    }
    let encoding = if media.encoding.is_empty() { "(unnamed)" } else { &media.encoding };
    let mut text = format!("{} {encoding}/{}", media.kind, media.clock_rate);
    if let Some(channels) = media.channels.filter(|c| c.get() > 1) {
        text.push_str(&format!("/{channels}"));
    }
    clean(&text, 60)
}

/// How the sound of a stream is coded, where MP4 can hold it.
fn audio_params(media: &Media) -> Option<(SoundCoding, AudioParams)> {
    if media.kind != "audio" {
        return None;
    }
    // Unwind-safe: nothing outlives a panic that hostile bytes cause.
    let read = catch_unwind(AssertUnwindSafe(|| {
        let Media { encoding, clock_rate, channels, format, .. } = media;
        let described = Depacketizer::new("audio", encoding, *clock_rate, *channels, format.as_deref()).ok()?;
        let ParametersRef::Audio(audio) = described.parameters()? else { return None };
        let (coding, sample_entry) = match encoding.as_str() {
            "pcma" => (SoundCoding::G711, g711_sample_entry(*b"alaw", audio)?),
            "pcmu" => (SoundCoding::G711, g711_sample_entry(*b"ulaw", audio)?),
            "mpeg4-generic" => {
                let frame_samples = audio.frame_length().map_or(AAC_FRAME_SAMPLES, |samples| samples.get().into());
                (SoundCoding::Aac { frame_samples }, audio.mp4_sample_entry().build().ok()?)
            }
            _ => return None,
        };
        let params = AudioParams {
            clock_rate: audio.clock_rate(),
            sample_entry: Bytes::from(sample_entry),
            rfc6381: audio.rfc6381_codec().map(str::to_owned),
        };
        Some((coding, params))
    }));
    read.ok().flatten()
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
