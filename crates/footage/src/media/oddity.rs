//! What is odd about a camera's stream and is recorded all the same: kinds, and how often each occurred.

/// A kind of deviation from the standards. Each costs at most the packet or NAL unit that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Oddity {
    /// Bytes between RTSP messages that belong to none.
    StrayBytes,
    /// Packets on an interleaved channel that was not set up.
    UnknownChannel,
    /// What is no RTP packet (RFC 3550 §5.1), in a packet's place.
    CorruptPacket,
    /// Packets of a payload type that the description does not name, beside those that it names.
    ForeignPayloadType,
    /// The stream has another payload type than the description says.
    OtherPayloadType,
    /// Packets of another source than the stream's: of an old session, most often.
    ForeignSource,
    /// The stream went on under another SSRC.
    SourceChanged,
    /// Sequence numbers began again.
    SequenceRestarted,
    /// A packet came twice.
    DuplicatePacket,
    /// A packet came early or late, and was put in its place.
    ReorderedPacket,
    /// A packet came after it had been counted as lost.
    LatePacket,
    /// An RTP packet without a payload.
    EmptyPayload,
    /// RTCP that cannot be read.
    CorruptReport,
    /// RTCP of another source than the stream's.
    ForeignReport,
    /// RTCP on the channel of RTP.
    ReportAmongPackets,
    /// RTCP BYE of a stream that goes on.
    Bye,
    /// A fragmented NAL unit whose first fragment has no start bit.
    UnitWithoutStart,
    /// A fragmented NAL unit whose last fragment has no end bit.
    UnitWithoutEnd,
    /// Fragments of one NAL unit that name different types.
    FragmentTypeChanged,
    /// An aggregation packet with a unit that is empty or cut off.
    BrokenAggregate,
    /// A payload of a packet type that is not supported. It is dropped, and counted as lost.
    UnsupportedPacket,
    /// A NAL unit of a type that is reserved, or with its forbidden bit set. It is kept.
    ReservedUnit,
    /// Start codes of Annex B inside RTP.
    StartCode,
    /// A marker inside a picture.
    MarkerInsidePicture,
    /// The end of a picture came after the picture had been taken for whole.
    SplitPicture,
    /// A picture larger than the configuration allows. It is dropped, and counted as lost.
    OversizedPicture,
    /// A parameter set that cannot be read. It is kept in band.
    UnreadableParameterSet,
    /// A parameter set that contradicts the one in use, before the random access point at which it may take effect.
    EarlyParameterSet,
    /// A stretch without a random access point: recorded from a picture that needs earlier ones.
    NoRandomAccessPoint,
}

impl Oddity {
    /// Every kind.
    pub const ALL: [Self; 29] = [
        Self::StrayBytes,
        Self::UnknownChannel,
        Self::CorruptPacket,
        Self::ForeignPayloadType,
        Self::OtherPayloadType,
        Self::ForeignSource,
        Self::SourceChanged,
        Self::SequenceRestarted,
        Self::DuplicatePacket,
        Self::ReorderedPacket,
        Self::LatePacket,
        Self::EmptyPayload,
        Self::CorruptReport,
        Self::ForeignReport,
        Self::ReportAmongPackets,
        Self::Bye,
        Self::UnitWithoutStart,
        Self::UnitWithoutEnd,
        Self::FragmentTypeChanged,
        Self::BrokenAggregate,
        Self::UnsupportedPacket,
        Self::ReservedUnit,
        Self::StartCode,
        Self::MarkerInsidePicture,
        Self::SplitPicture,
        Self::OversizedPicture,
        Self::UnreadableParameterSet,
        Self::EarlyParameterSet,
        Self::NoRandomAccessPoint,
    ];

    /// The word that the API shows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StrayBytes => "stray_bytes",
            Self::UnknownChannel => "unknown_channel",
            Self::CorruptPacket => "corrupt_packet",
            Self::ForeignPayloadType => "foreign_payload_type",
            Self::OtherPayloadType => "other_payload_type",
            Self::ForeignSource => "foreign_source",
            Self::SourceChanged => "source_changed",
            Self::SequenceRestarted => "sequence_restarted",
            Self::DuplicatePacket => "duplicate_packet",
            Self::ReorderedPacket => "reordered_packet",
            Self::LatePacket => "late_packet",
            Self::EmptyPayload => "empty_payload",
            Self::CorruptReport => "corrupt_report",
            Self::ForeignReport => "foreign_report",
            Self::ReportAmongPackets => "report_among_packets",
            Self::Bye => "bye",
            Self::UnitWithoutStart => "unit_without_start",
            Self::UnitWithoutEnd => "unit_without_end",
            Self::FragmentTypeChanged => "fragment_type_changed",
            Self::BrokenAggregate => "broken_aggregate",
            Self::UnsupportedPacket => "unsupported_packet",
            Self::ReservedUnit => "reserved_unit",
            Self::StartCode => "start_code",
            Self::MarkerInsidePicture => "marker_inside_picture",
            Self::SplitPicture => "split_picture",
            Self::OversizedPicture => "oversized_picture",
            Self::UnreadableParameterSet => "unreadable_parameter_set",
            Self::EarlyParameterSet => "early_parameter_set",
            Self::NoRandomAccessPoint => "no_random_access_point",
        }
    }
}

impl std::fmt::Display for Oddity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How often each kind occurred.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OddityCounts {
    counts: [u64; Oddity::ALL.len()],
    total: u64,
}

impl OddityCounts {
    /// One more.
    pub fn add(&mut self, oddity: Oddity) {
        let count = &mut self.counts[oddity as usize];
        *count = count.saturating_add(1);
        self.total = self.total.saturating_add(1);
    }

    /// Adds what `other` counted, which begins again.
    pub fn take_from(&mut self, other: &mut Self) {
        if other.total == 0 {
            return;
        }
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_add(more);
        }
        self.total = self.total.saturating_add(other.total);
        *other = Self::default();
    }

    /// Of all kinds.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// How often this kind occurred.
    pub fn of(&self, oddity: Oddity) -> u64 {
        self.counts[oddity as usize]
    }

    /// The kinds that occurred, with how often.
    pub fn iter(&self) -> impl Iterator<Item = (Oddity, u64)> {
        Oddity::ALL.into_iter().map(|oddity| (oddity, self.of(oddity))).filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_counted_apart_and_serialises_as_its_word() {
        let mut counts = OddityCounts::default();
        for (place, oddity) in Oddity::ALL.into_iter().enumerate() {
            assert_eq!(oddity as usize, place);
            let json = serde_json::to_string(&oddity).expect("an enum of words");
            assert_eq!(json, format!("{:?}", oddity.as_str()));
            counts.add(oddity);
        }
        counts.add(Oddity::Bye);
        assert_eq!((counts.of(Oddity::Bye), counts.of(Oddity::StartCode)), (2, 1));
        assert_eq!((counts.iter().count(), counts.total()), (Oddity::ALL.len(), Oddity::ALL.len() as u64 + 1));
    }
}
