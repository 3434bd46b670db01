//! A pack's bytes in order, from wherever they lie: its own file, its table, the packs that it refers to.

use std::collections::VecDeque;

use super::{
    Arc, Archive, BoxStream, Bytes, Host, LOOKS_MAX, Lies, PackError, PackRef, PackState, Piece, Range, ReadError,
    StreamExt, TryStreamExt, Whole, blocking, encrypted, ranges::LocalBytes, short, whole_of,
};
use footage::pack::reference::Place;
use footage::pack::{FragmentEntry, PackTable};
use footage::units::{FragmentId, PackId};

/// Packs on the way from a reference to the bytes: one, where all is as it should be.
const HOPS_MAX: usize = 8;

/// The next bytes of a run of pieces.
enum AssembleStep {
    /// These.
    Boxes(Bytes),
    /// As many from the source.
    Take(u64),
}

/// Pieces one after the other that all come from one source.
enum Source {
    /// Ranges of the pack's own file.
    Own(Vec<Range<u64>>),
    /// Sample bytes of another pack's fragments.
    Host(Arc<Host>, Vec<(u32, FragmentId, Range<u64>)>),
}

struct Run {
    source: Source,
    steps: Vec<AssembleStep>,
}

impl Archive {
    /// These byte ranges (ascending, apart) one after the other, of the pack with all of its bytes. Neighbouring ranges
    /// are fetched together: from a store, a whole pack's worth of fragments costs one GET for each pack that they lie in.
    pub fn stream(&self, pack: &PackRef, ranges: Vec<Range<u64>>) -> BoxStream<'static, Result<Bytes, ReadError>> {
        let (this, pack) = (self.clone(), pack.clone());
        let start = async move {
            for _ in 1..LOOKS_MAX {
                let mut bytes = this.look(&pack, ranges.clone()).await?;
                match bytes.next().await {
                    Some(Err(ReadError::WrittenAnew(_))) => this.forget_table(pack.id).await,
                    first => return Ok::<_, ReadError>(futures::stream::iter(first).chain(bytes).boxed()),
                }
            }
            this.look(&pack, ranges).await
        };
        futures::stream::once(start).try_flatten().boxed()
    }

    /// By the table of the file that is there now, or by the one that is known.
    async fn look(
        &self,
        pack: &PackRef,
        ranges: Vec<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes, ReadError>>, ReadError> {
        let id = pack.id;
        let at = self.forgotten();
        let hull = ranges.first().map_or(0, |first| first.start)..ranges.last().map_or(0, |last| last.end);
        match self.lies(pack, hull).await? {
            Lies::Growing(local, encrypted) => Ok(encrypted::stream_local(id, Arc::new(local), encrypted, ranges)),
            Lies::Local(file) => {
                let file_bytes = file.metadata().map_err(|source| ReadError::Io { pack: id, source })?.len();
                let known = self.tables.get(&id).await.filter(|whole| whole.file_bytes == file_bytes);
                let whole = match known {
                    Some(whole) => whole,
                    None => {
                        let handle = file.try_clone().map_err(|source| ReadError::Io { pack: id, source })?;
                        let vault = self.spool.vault();
                        let whole = blocking(id, move || whole_of(handle, id, &vault)).await?;
                        self.keep(pack, whole, at).await?
                    }
                };
                let Whole { table, encrypted, .. } = whole;
                let local = Arc::new(LocalBytes::in_file(file));
                let own = move |ranges| encrypted::stream_local(id, local.clone(), encrypted.clone(), ranges);
                self.assemble(&table, ranges, own)
            }
            Lies::Store => {
                let whole = self.whole(pack).await?;
                let (this, pack) = (self.clone(), pack.clone());
                let Whole { table, file_bytes, encrypted } = whole;
                let own = move |ranges| match &encrypted {
                    None => this.stream_object(pack.clone(), file_bytes, ranges),
                    Some(encrypted) => this.stream_encrypted(pack.clone(), file_bytes, encrypted.clone(), ranges),
                };
                self.assemble(&table, ranges, own)
            }
        }
    }

    fn assemble(
        &self,
        table: &PackTable,
        ranges: Vec<Range<u64>>,
        own: impl Fn(Vec<Range<u64>>) -> BoxStream<'static, Result<Bytes, ReadError>> + Send + 'static,
    ) -> Result<BoxStream<'static, Result<Bytes, ReadError>>, ReadError> {
        if !table.is_reference() {
            return Ok(own(ranges));
        }
        let mut runs: Vec<Run> = Vec::new();
        for range in ranges {
            table.pieces(range)?.into_iter().for_each(|piece| push(&mut runs, piece));
        }
        let (this, id) = (self.clone(), table.header.pack);
        let runs = futures::stream::iter(runs).flat_map(move |Run { source, steps }| match source {
            Source::Own(ranges) => interleave(own(ranges), steps),
            Source::Host(host, wanted) => {
                // Whose pack is missing is nobody's business here.
                let own = move |e| if matches!(e, ReadError::NotFound(_)) { ReadError::NotFound(id) } else { e };
                interleave(this.of_host(host, wanted).map_err(own).boxed(), steps)
            }
        });
        Ok(runs.boxed())
    }

    /// Sample bytes of fragments of a host. What it says of each must be what the reference says: otherwise no
    /// other footage is handed out.
    fn of_host(
        &self,
        host: Arc<Host>,
        wanted: Vec<(u32, FragmentId, Range<u64>)>,
    ) -> BoxStream<'static, Result<Bytes, ReadError>> {
        let this = self.clone();
        let start = async move {
            let mut lists: Vec<(PackRef, Vec<Range<u64>>)> = Vec::new();
            for (fragment, id, range) in wanted {
                let (pack, entry) = this.holder(&Place { host: host.clone(), fragment }, id).await?;
                if range.end > u64::from(entry.data_bytes) {
                    return Err(not_held(host.pack, id));
                }
                let range = entry.data_offset() + range.start..entry.data_offset() + range.end;
                match lists.last_mut() {
                    Some((last, ranges)) if *last == pack && ranges.last().is_some_and(|r| r.end <= range.start) => {
                        ranges.push(range);
                    }
                    _ => lists.push((pack, vec![range])),
                }
            }
            Ok::<_, ReadError>(lists.into_iter().map(move |(pack, ranges)| this.stream(&pack, ranges)))
        };
        futures::stream::once(start).map_ok(|streams| futures::stream::iter(streams).flatten()).try_flatten().boxed()
    }

    /// The pack that holds the bytes of a fragment itself, and its entry there: the host that a place names. Where that holds
    /// the fragment under another number, or refers to another pack for it, it is found all the same: such references were
    /// written once, and the bytes are those of the id or nothing.
    ///
    /// # Errors
    /// When no pack on the way holds them, or one cannot be read.
    pub(crate) async fn holder(
        &self,
        place: &Place,
        id: FragmentId,
    ) -> Result<(PackRef, Arc<FragmentEntry>), ReadError> {
        let mut place = place.clone();
        for _ in 0..HOPS_MAX {
            let pack = PackRef { id: place.host.pack, camera: place.host.camera.clone(), state: PackState::Stored };
            let table = self.table(&pack).await?;
            let named = table.fragments.get(place.fragment as usize).filter(|entry| entry.id == id);
            let itself = |entry: &&Arc<FragmentEntry>| entry.place.is_none();
            let all = || table.fragments.iter().filter(|entry| entry.id == id);
            let found = named.filter(itself).or_else(|| all().find(itself)).or(named).or_else(|| all().next());
            match found.map(|entry| (entry, &entry.place)) {
                Some((entry, None)) => return Ok((pack, entry.clone())),
                Some((_, Some(next))) => place = next.clone(),
                None => break,
            }
        }
        Err(not_held(place.host.pack, id))
    }
}

fn not_held(host: PackId, id: FragmentId) -> ReadError {
    let what = format!("pack {host} does not hold the bytes of fragment {id} that it is referred to for");
    PackError::Malformed { offset: 0, what }.into()
}

fn push(runs: &mut Vec<Run>, piece: Piece) {
    let last = runs.last_mut();
    match piece {
        Piece::Boxes(bytes) => match last {
            Some(run) => run.steps.push(AssembleStep::Boxes(bytes)),
            None => runs.push(Run { source: Source::Own(Vec::new()), steps: vec![AssembleStep::Boxes(bytes)] }),
        },
        Piece::File(range) => {
            let take = AssembleStep::Take(range.end - range.start);
            match last {
                Some(Run { source: Source::Own(ranges), steps }) => {
                    ranges.push(range);
                    steps.push(take);
                }
                _ => runs.push(Run { source: Source::Own(vec![range]), steps: vec![take] }),
            }
        }
        Piece::Samples { place, id, range } => {
            let take = AssembleStep::Take(range.end - range.start);
            let wanted = (place.fragment, id, range);
            match last {
                Some(Run { source: Source::Host(host, all), steps }) if *host == place.host => {
                    all.push(wanted);
                    steps.push(take);
                }
                _ => runs.push(Run { source: Source::Host(place.host, vec![wanted]), steps: vec![take] }),
            }
        }
    }
}

/// The source's bytes with boxes between them.
fn interleave(
    source: BoxStream<'static, Result<Bytes, ReadError>>,
    steps: Vec<AssembleStep>,
) -> BoxStream<'static, Result<Bytes, ReadError>> {
    let state = (source, Bytes::new(), VecDeque::from(steps));
    futures::stream::try_unfold(state, |(mut source, mut rest, mut steps)| async move {
        loop {
            let left = match steps.front_mut() {
                None => return Ok(None),
                Some(AssembleStep::Take(0)) => {
                    steps.pop_front();
                    continue;
                }
                Some(AssembleStep::Take(left)) => left,
                Some(AssembleStep::Boxes(bytes)) => {
                    let bytes = std::mem::take(bytes);
                    steps.pop_front();
                    return Ok(Some((bytes, (source, rest, steps))));
                }
            };
            if rest.is_empty() {
                rest = source.next().await.ok_or_else(|| short(0))??;
                continue;
            }
            let taken = rest.split_to((*left).min(rest.len() as u64) as usize);
            *left -= taken.len() as u64;
            return Ok(Some((taken, (source, rest, steps))));
        }
    })
    .boxed()
}
