//! `vigie fsck` and `vigie keys`.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn fsck_finds_a_sound_recording_sound_and_reads_all_of_it() {
    let site = Site::recorded().await;
    let (code, out, err) = site.vigie(&["fsck"]).await;
    assert_eq!((code, out.as_str()), (0, "sound: 1 cameras, 2 packs, 2 objects, 0 files in the spool\n"), "{err}");
    let bytes: u64 = [1, 2].map(|n| site.object(n).metadata().unwrap().len()).iter().sum();
    let (code, out, err) = site.vigie(&["fsck", "--read-data"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.ends_with(&format!("{bytes} bytes read and checked\n")), "{out}");
}

/// After this damage, `fsck` says these and nothing else.
async fn check(damage: impl AsyncFnOnce(&Site), arguments: &[&str], expect: &[&str]) {
    let site = Site::recorded().await;
    damage(&site).await;
    let (code, out, err) = site.vigie(arguments).await;
    let said: Vec<&str> = out.lines().filter(|line| !line.contains("sound: ")).collect();
    assert_eq!(said.len(), expect.len(), "{out}{err}");
    assert!(said.iter().zip(expect).all(|(said, part)| said.contains(part)), "{expect:?}: {out}");
    let complaints = said.iter().filter(|line| !line.starts_with("note: ")).count();
    assert_eq!(code, i32::from(complaints > 0), "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fsck_names_each_kind_of_damage() {
    let fsck = &["fsck"][..];
    let with_data = &["fsck", "--read-data"][..];
    check(async |s| std::fs::remove_file(s.object(1)).unwrap(), fsck, &["it is not there"]).await;
    let cut = async |s: &Site| {
        let file = std::fs::File::options().write(true).open(s.object(2)).unwrap();
        file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    };
    check(cut, fsck, &["bytes are there, the index says"]).await;
    check(async |s| flip(&s.object(1)), fsck, &[]).await;
    check(async |s| flip(&s.object(1)), with_data, &["is damaged: fragment at byte"]).await;
    check(async |s| copy(&s.object(1), &s.object(3)), fsck, &["the index knows no such pack"]).await;
    let foreign = async |s: &Site| copy(&s.object(1), &s.config.data_dir.join("store").join("notes.txt"));
    check(foreign, fsck, &["note: object notes.txt is not Vigie's"]).await;
    let spooled = async |s: &Site| {
        let [_, whole, _] = s.open().await.spool.files(&key("town/gate"), pack_id(3));
        copy(&s.object(1), &whole);
    };
    check(spooled, fsck, &["the next start of the gateway takes it in"]).await;
    // One pack's bytes under another's name.
    check(async |s| copy(&s.object(1), &s.object(2)), fsck, &["bytes are there, the index says"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fsck_mends_what_follows_from_the_rest_and_makes_a_gap_of_what_does_not() {
    let repair = &["fsck", "--read-data", "--repair"][..];
    let site = Site::recorded().await;
    let before = std::fs::read(site.object(2)).unwrap();
    let mut damaged = before.clone();
    let table = damaged.len() - 30;
    damaged[table] ^= 1;
    std::fs::write(site.object(2), damaged).unwrap();
    flip(&site.object(1));
    let (code, out, err) = site.vigie(repair).await;
    assert_eq!(code, 1, "what is lost stays a complaint: {out}{err}");
    let said = |start: &str| out.lines().any(|line| line.starts_with(start));
    assert!(said("lost: pack ") && said("mended: pack ") && out.contains("its fragment table"), "{out}");
    assert!(std::fs::read(site.object(2)).unwrap() == before);
    let rows = site.rows().await;
    assert!(rows.gaps.iter().any(|gap| gap.cause == GapCause::Corrupt), "{rows:?}");

    let (code, _, err) = site.vigie(&["fsck", "--repair"]).await;
    assert_eq!(code, 2, "{err}");
    let held = vigie::gateway::lock(&site.config).unwrap();
    let (code, _, err) = site.vigie(repair).await;
    drop(held);
    assert!(code == 1 && err.contains("is in use by another Vigie"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_shown_and_replaced_without_a_byte_of_footage_rewritten() {
    let plain = Site::recorded().await;
    let (code, _, err) = plain.vigie(&["keys", "show"]).await;
    assert!(code == 1 && err.contains("no store is encrypted"), "{err}");

    let site = Site::configured("[[store]]\nencrypt = true\n").with_recording().await;
    let store = site.config.data_dir.join("store");
    let objects = || {
        let folder =
            std::fs::read_dir(&store).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|path| (std::fs::read(&path).unwrap(), path)).collect::<Vec<_>>()
    };
    let before = objects();
    assert_eq!(before.len(), 2);
    let sound = async |after: &str| {
        let (code, out, err) = site.vigie(&["fsck", "--read-data"]).await;
        assert_eq!(code, 0, "{after}: {out}{err}");
    };
    sound("recorded").await;
    let (_, shown, err) = site.vigie(&["keys", "show"]).await;
    assert!(shown.contains("(tenant key)") && shown.contains("master key: "), "{shown}{err}");
    for arguments in [&["keys", "rotate-tenant", "town"][..], &["keys", "rotate-master"]] {
        let (code, out, err) = site.vigie(arguments).await;
        assert!(code == 0 && out.contains("wrapped again"), "{out}{err}");
        sound(arguments[1]).await;
    }
    let (_, now, _) = site.vigie(&["keys", "show"]).await;
    let days =
        |shown: &str| shown.lines().filter(|line| line.split_whitespace().any(|word| word.contains('-'))).count();
    assert!(now != shown && days(&now) == days(&shown), "{shown}{now}");
    assert!(objects() == before);
    let (code, _, err) = site.vigie(&["keys", "rotate-tenant", "nobody"]).await;
    assert!(code == 1 && err.contains("has no keys"), "{err}");

    // Another master key, where the one before is not given.
    let own = site.config.data_dir.join("keys").join("master.key");
    std::fs::write(own, format!("{}\n", "5a".repeat(32))).unwrap();
    let (code, out, err) = site.vigie(&["fsck"]).await;
    assert!(code == 1 && out.contains("previous_master_key"), "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fsck_names_what_the_index_has_wrong_by_itself() {
    let camera = key("town/gate");
    let gap = |cause, lost_packets| {
        let gap = Gap { start: at(2), end: at(3), cause, lost_packets };
        vec![Change::PutGap { camera: key("town/gate"), gap }]
    };
    let fsck = &["fsck"][..];
    check(async |s| s.report(gap(GapCause::Silent, 0)).await, fsck, &["lies over footage"]).await;
    check(async |s| s.report(gap(GapCause::PacketLoss, 4)).await, fsck, &[]).await;
    let overlapping = async |s: &Site| {
        let rows = s.rows().await;
        let segment = SegmentRow { range: TimeRange::new(at(3), at(4)).unwrap(), ..rows.segments[0].clone() };
        let put = Change::PutSegment { camera: camera.clone(), segment, pack_bytes: 0 };
        s.report(vec![put]).await;
    };
    check(overlapping, fsck, &["it has 1 segments, the index 2", "overlap"]).await;
    let shortened = async |s: &Site| {
        let rows = s.rows().await;
        let segment = SegmentRow { fragments: 5, ..rows.segments[0].clone() };
        let put = Change::PutSegment { camera: key("town/gate"), segment, pack_bytes: 0 };
        s.report(vec![put]).await;
    };
    check(shortened, fsck, &["has 6 fragments from number 0"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fsck_takes_a_pack_that_grows_for_what_it_is() {
    let site = Site::recorded().await;
    let opened = site.open().await;
    let _tasks = Sealer::new(opened.spool.clone()).start().unwrap();
    let pack = grow(&opened.spool, &key("town/gate"), 3, 20..24, &[]).await;
    opened.spool.flush().await;
    // Written, and the index does not know of it yet.
    write_second(&opened.spool, &pack, 24, Vec::new(), Vec::new()).await;
    opened.index.close().await;
    opened.spool.flush().await;
    let (code, out, err) = site.vigie(&["fsck", "--read-data"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("3 packs, 2 objects, 1 files in the spool"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fsck_reads_packs_of_a_store_elsewhere_through_a_folder_that_it_removes() {
    let site = Site::empty();
    let memory = Arc::new(InMemory::new());
    let store = Store::over(memory.clone());
    let Opened { index, clock, keys, .. } = site.open().await;
    let spool = Spool::new(&site.config.spool_dir, store.clone(), index.clone(), clock, keys);
    let tasks = Sealer::new(spool.clone()).start().unwrap();
    let camera = key("town/gate");
    spool.seal(grow(&spool, &camera, 1, 0..4, &[]).await).await.unwrap();
    spool.close();
    tasks.join().await;
    // The spool may have been stopped before the store had it.
    let file = spool.files(&camera, pack_id(1)).into_iter().find(|path| path.exists()).unwrap();
    store.put_pack(&camera, pack_id(1), &file).await.unwrap();
    index.write(vec![Change::PackStored { pack: pack_id(1) }]).await.unwrap();

    let packs = Archive::new(spool.clone(), store.clone());
    let fsck = Fsck { index, spool, store, packs, settle: Duration::ZERO, read_data: true };
    let found = async || {
        let mut found = Vec::new();
        let report = fsck.check(&mut |finding| found.push(finding)).await.unwrap();
        (report, found)
    };
    let (report, findings) = found().await;
    assert_eq!(findings, []);
    assert!(report.checked_bytes > 36_000, "{report:?}");

    let location = fsck.store.object_path(&camera, pack_id(1));
    let mut bytes = memory.get(&location).await.unwrap().bytes().await.unwrap().to_vec();
    let middle = bytes.windows(200).position(|w| w.iter().all(|b| *b == w[0] && *b != 0)).unwrap() + 100;
    bytes[middle] ^= 1;
    memory.put_opts(&location, bytes.into(), Default::default()).await.unwrap();
    let (_, findings) = found().await;
    assert!(matches!(findings[..], [Finding::Complaint(Complaint::Damaged { .. })]), "{findings:?}");
}
