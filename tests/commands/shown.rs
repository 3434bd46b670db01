//! What commands show and hand out, and how `vigie run` reports to systemd.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_the_clip_byte_for_byte_while_the_gateway_records() {
    let site = Site::recorded().await;
    let opened = site.open().await;
    let footage = Footage::new(opened.index, opened.packs, opened.clock);
    footage.label(Labels::of(&site.config));
    let range = TimeRange::new(at(1), at(19)).unwrap();
    let clip = Clip::new(&footage, &key("town/gate"), range).await.unwrap();
    let parts: Vec<Bytes> = futures::TryStreamExt::try_collect(clip.body(0..clip.len())).await.unwrap();

    let out_file = site.dir.path().join("out").join("clip.mp4");
    std::fs::create_dir(out_file.parent().unwrap()).unwrap();
    let out_path = out_file.to_str().unwrap();
    let export = |start, end| {
        ["export", "--camera", "town/gate", "--start", start, "--end", end, "--out", out_path].map(str::to_owned)
    };
    let run = async |arguments: [String; 9]| site.vigie(&arguments.each_ref().map(String::as_str)).await;
    // Noon UTC is one o'clock in Paris in March.
    let good = export("2026-03-03T13:00:01", "2026-03-03T12:00:19Z");
    let (code, out, err) = run(good.clone()).await;
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(std::fs::read(&out_file).unwrap(), parts.concat());
    let covers = "town/gate, 2026-03-03T13:00:01.000+01:00 to 2026-03-03T13:00:19.000+01:00";
    assert!(out.contains(covers) && out.contains(&format!("{} bytes", clip.len())), "{out}");
    assert!(out.contains("13:00:06.000+01:00  2026-03-03T13:00:16.000+01:00  10.0 s  disconnected"), "{out}");

    let (code, _, err) = run(good).await;
    assert!(code == 1 && err.contains("exists"), "{code} {err}");
    assert_eq!(std::fs::read(&out_file).unwrap(), parts.concat());
    std::fs::remove_file(&out_file).unwrap();
    let wrong = [
        (export("2026-03-03T12:00:07Z", "2026-03-03T12:00:09Z"), 66, "no footage"),
        (export("2026-03-03T12:00:09Z", "2026-03-03T12:00:07Z"), 2, "must be before"),
        (export("2026-03-03T12:00:00Z", "2026-03-05T12:00:00Z"), 2, "at most 25 hours"),
        (export("yesterday", "2026-03-05T12:00:00Z"), 2, "--start"),
    ];
    for (arguments, expect, part) in wrong {
        let (code, _, err) = run(arguments).await;
        assert!(code == expect && err.contains(part), "{code} {err}");
    }
    std::fs::remove_file(site.object(1)).unwrap();
    let (code, _, err) = run(export("2026-03-03T12:00:01Z", "2026-03-03T12:00:05Z")).await;
    assert!(code == 65 && err.contains("is missing or damaged (packs: 1)"), "{code} {err}");
    assert_eq!(std::fs::read_dir(out_file.parent().unwrap()).unwrap().count(), 0, "nothing is left of a failure");
}

#[tokio::test(flavor = "multi_thread")]
async fn ls_shows_cameras_and_what_there_is_of_one_in_local_time() {
    let site = Site::recorded().await;
    let (code, out, err) = site.vigie(&["ls"]).await;
    assert_eq!(code, 0, "{err}");
    let row = "town/gate  2026-03-03T13:00:00.000+01:00  2026-03-03T13:00:20.000+01:00";
    assert!(out.contains(row) && out.contains("Rue Haute"), "{out}");
    let (code, out, err) = site.vigie(&["ls", "--camera", "town/gate"]).await;
    assert_eq!(code, 0, "{err}");
    let lines: Vec<&str> = out.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "footage",
            "  2026-03-03T13:00:00.000+01:00  2026-03-03T13:00:06.000+01:00  6.0 s",
            "  2026-03-03T13:00:16.000+01:00  2026-03-03T13:00:20.000+01:00  4.0 s",
            "gaps",
            "  2026-03-03T13:00:06.000+01:00  2026-03-03T13:00:16.000+01:00  10.0 s  disconnected",
        ]
    );
    let (code, _, err) = site.vigie(&["ls", "--camera", "town/nobody"]).await;
    assert!(code == 66 && err.contains("no camera town/nobody"), "{code} {err}");
}

#[test]
fn run_notifies_systemd_when_it_records_lives_and_stops() {
    let site = Site::empty();
    let socket = site.dir.path().join("notify");
    let notified = UnixDatagram::bind(&socket).unwrap();
    notified.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut gateway = site.command(&["run"]);
    gateway.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "300000");
    let mut gateway = gateway.spawn().unwrap();
    let until = |word: &str| {
        let mut buffer = [0; 256];
        loop {
            let bytes = notified.recv(&mut buffer).unwrap();
            if buffer[..bytes].lines().any(|line| line.unwrap() == word) {
                return;
            }
        }
    };
    until("READY=1");
    until("WATCHDOG=1");
    let reported = Command::new("kill").args(["-TERM", &gateway.id().to_string()]).status().unwrap();
    assert!(reported.success());
    until("STOPPING=1");
    assert!(gateway.wait().unwrap().success());
}
