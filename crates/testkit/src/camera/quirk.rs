//! What a camera does beside the standards and sends all its pictures all the same.

/// One oddity of a camera's stream, as long as it lasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quirk {
    /// None.
    #[default]
    None,
    /// The marker is set on every packet.
    MarkEveryPacket,
    /// The marker is never set.
    NoMarker,
    /// Each picture begins with an access unit delimiter, and ends with filler data.
    DelimiterAndFiller,
    /// Each picture has a SEI message with start codes in it, and bytes that would need emulation prevention.
    StartCodesInSei,
    /// Now and then a packet is sent twice.
    DuplicatePackets,
    /// Now and then two packets in a row change places.
    SwappedPackets,
    /// A packet without payload follows each picture.
    EmptyPackets,
    /// A packet of payload type 50 follows each picture, with the number of the next packet.
    ForeignPackets,
    /// The payload type is another than the description says.
    OtherPayloadType,
    /// Sequence numbers begin again every 25 pictures.
    SequenceRestarts,
    /// The source changes every 25 pictures, and with it numbers and timestamps.
    SourceChanges,
    /// The last fragment of a NAL unit has no end bit.
    NoEndBit,
    /// Fragments after the first name another type.
    FragmentTypeChanges,
    /// Every packet has a source list, a header extension and padding.
    LongHeaders,
    /// Every timestamp is the same.
    ConstantTimestamp,
}

impl Quirk {
    /// Every one.
    pub const ALL: [Self; 15] = [
        Self::MarkEveryPacket,
        Self::NoMarker,
        Self::DelimiterAndFiller,
        Self::StartCodesInSei,
        Self::DuplicatePackets,
        Self::SwappedPackets,
        Self::EmptyPackets,
        Self::ForeignPackets,
        Self::OtherPayloadType,
        Self::SequenceRestarts,
        Self::SourceChanges,
        Self::NoEndBit,
        Self::FragmentTypeChanges,
        Self::LongHeaders,
        Self::ConstantTimestamp,
    ];
}
