//! Bytes of encrypted packs: the records that hold what is wanted are read, opened in place, and handed on without a copy.

use super::ranges::{JOIN_BYTES, LocalBytes, READ_BYTES, SKIP_BYTES, stream_file};
use super::{
    Arc, Archive, BoxStream, Bytes, Encrypted, File, PackId, PackRef, Range, ReadError, StreamExt, TryStreamExt, Vault,
    blocking, short,
};

/// What is wanted of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct WantedPart {
    record: usize,
    /// Counted from the record's first plain byte.
    range: Range<usize>,
}

/// Parts whose records are read together, and where those are in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RecordGroup {
    file: Range<u64>,
    parts: Vec<WantedPart>,
}

/// How a pack that grows is encrypted so far, if it is. Blocks.
pub(super) fn of_growing(pack: PackId, file: &File, vault: &Vault) -> Result<Option<Arc<Encrypted>>, ReadError> {
    let bytes = file.metadata().map_err(|source| ReadError::Io { pack, source })?.len();
    Ok(Encrypted::of_file(vault, pack, file, bytes)?.map(Arc::new))
}

/// Ranges of a local pack's plain bytes, encrypted or not.
pub(super) fn stream_local(
    pack: PackId,
    local: Arc<LocalBytes>,
    encrypted: Option<Arc<Encrypted>>,
    ranges: Vec<Range<u64>>,
) -> BoxStream<'static, Result<Bytes, ReadError>> {
    let Some(encrypted) = encrypted else { return stream_file(pack, local, ranges) };
    let groups = match groups(&encrypted, ranges, SKIP_BYTES, READ_BYTES) {
        Ok(groups) => groups,
        Err(e) => return futures::stream::iter([Err(e)]).boxed(),
    };
    futures::stream::iter(groups)
        .map(move |group| {
            let (local, encrypted) = (local.clone(), encrypted.clone());
            blocking(pack, move || {
                let read = local.read_at(&group.file).map_err(|source| match source.kind() {
                    std::io::ErrorKind::UnexpectedEof => short(group.file.start),
                    _ => ReadError::Io { pack, source },
                })?;
                Ok(futures::stream::iter(open(&encrypted, &group, read)?.into_iter().map(Ok)))
            })
        })
        .buffered(2)
        .try_flatten()
        .boxed()
}

impl Archive {
    /// Ranges of an encrypted object's plain bytes.
    pub(super) fn stream_encrypted(
        &self,
        pack: PackRef,
        object_bytes: u64,
        encrypted: Arc<Encrypted>,
        ranges: Vec<Range<u64>>,
    ) -> BoxStream<'static, Result<Bytes, ReadError>> {
        let groups = match groups(&encrypted, ranges, JOIN_BYTES, u64::MAX) {
            Ok(groups) => groups,
            Err(e) => return futures::stream::iter([Err(e)]).boxed(),
        };
        let this = self.clone();
        // A group is one request, opened record by record as they come.
        let opened = move |group: RecordGroup| {
            let records = records_of(&encrypted, &group);
            let bytes = this.stream_object(pack.clone(), object_bytes, records.clone());
            let pieces = whole_pieces(bytes, records);
            let (encrypted, mut parts) = (encrypted.clone(), group.parts.into_iter().peekable());
            pieces.map(move |piece| {
                let (file, bytes) = piece?;
                let Some(first) = parts.peek().cloned() else { return Ok(Vec::new()) };
                let of_record = std::iter::from_fn(|| parts.next_if(|part| part.record == first.record)).collect();
                open(&encrypted, &RecordGroup { file, parts: of_record }, bytes)
            })
        };
        futures::stream::iter(groups)
            .flat_map(opened)
            .map_ok(|parts| futures::stream::iter(parts.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }
}

/// Where the records of a group's parts are in the file, each once.
fn records_of(encrypted: &Encrypted, group: &RecordGroup) -> Vec<Range<u64>> {
    let mut records: Vec<usize> = group.parts.iter().map(|part| part.record).collect();
    records.dedup();
    records.into_iter().map(|record| encrypted.file_range(record)).collect()
}

/// Gathers a stream of bytes into these pieces, one after the other.
fn whole_pieces(
    bytes: BoxStream<'static, Result<Bytes, ReadError>>,
    pieces: Vec<Range<u64>>,
) -> BoxStream<'static, Result<(Range<u64>, Bytes), ReadError>> {
    let state = (bytes, Bytes::new(), pieces.into_iter());
    futures::stream::try_unfold(state, |(mut bytes, mut rest, mut pieces)| async move {
        let Some(piece) = pieces.next() else { return Ok(None) };
        let want = (piece.end - piece.start) as usize;
        let mut whole = Vec::with_capacity(want);
        while whole.len() < want {
            if rest.is_empty() {
                rest = bytes.next().await.ok_or_else(|| short(piece.start + whole.len() as u64))??;
            }
            whole.extend_from_slice(&rest.split_to(rest.len().min(want - whole.len())));
        }
        Ok(Some(((piece, Bytes::from(whole)), (bytes, rest, pieces))))
    })
    .boxed()
}

/// Opens the records of a group in place, in its bytes of the file; gives the parts.
fn open(encrypted: &Encrypted, group: &RecordGroup, bytes: Bytes) -> Result<Vec<Bytes>, ReadError> {
    // Nobody else has these bytes, so that nothing is copied here.
    let mut bytes = bytes.try_into_mut().unwrap_or_else(|shared| shared.as_ref().into());
    let mut plain: Vec<Range<usize>> = Vec::with_capacity(group.parts.len());
    let mut last: Option<(usize, Range<usize>)> = None;
    for WantedPart { record, range } in &group.parts {
        let within = match &last {
            Some((opened, within)) if opened == record => within.clone(),
            _ => {
                let file = encrypted.file_range(*record);
                let at = (file.start - group.file.start) as usize;
                let opened = encrypted.open(*record, &mut bytes[at..at + (file.end - file.start) as usize])?;
                at + opened.start..at + opened.end
            }
        };
        plain.push(within.start + range.start..within.start + range.end);
        last = Some((*record, within));
    }
    let bytes = bytes.freeze();
    Ok(plain.into_iter().map(|range| bytes.slice(range)).collect())
}

/// The records that hold these plain ranges (ascending, apart). Those that lie no further apart than `skip` in the file
/// are read together, up to `most` bytes.
fn groups(encrypted: &Encrypted, ranges: Vec<Range<u64>>, skip: u64, most: u64) -> Result<Vec<RecordGroup>, ReadError> {
    let mut groups: Vec<RecordGroup> = Vec::new();
    for range in ranges.into_iter().filter(|range| range.start < range.end) {
        if range.end > encrypted.plain_bytes() {
            return Err(short(encrypted.plain_bytes()));
        }
        for record in encrypted.holding(&range) {
            let (plain, file) = (encrypted.plain_range(record), encrypted.file_range(record));
            let (from, to) = (range.start.max(plain.start), range.end.min(plain.end));
            let part = WantedPart { record, range: (from - plain.start) as usize..(to - plain.start) as usize };
            match groups.last_mut() {
                Some(group)
                    if file.start <= group.file.end.saturating_add(skip) && file.end - group.file.start <= most =>
                {
                    group.file.end = group.file.end.max(file.end);
                    group.parts.push(part);
                }
                _ => groups.push(RecordGroup { file, parts: vec![part] }),
            }
        }
    }
    Ok(groups)
}
