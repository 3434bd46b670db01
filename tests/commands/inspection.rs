//! `vigie inspection`.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a5_an_inspection_is_files_that_say_what_is_kept_what_is_missing_and_what_is_over_age() {
    let site = Site::recorded().await;
    let out = site.dir.path().join("out");
    let out_text = out.to_str().unwrap();
    let arguments = ["inspection", "--from", "2026-03-01", "--to", "2026-03-31", "--language", "en", "--out", out_text];
    let (code, shown, err) = site.vigie(&arguments).await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(shown.lines().count(), 7, "{shown}");
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    // What was recorded in March is long over, and no gateway runs that would destroy it.
    let page = read("inspection.html");
    assert!(
        page.contains("<td>gate</td><td>2026-03-03 13:00:00 +01:00 → 2026-03-03 13:00:20 +01:00</td><td>2</td>"),
        "{page}"
    );
    assert!(page.contains("retention has not taken it"), "{page}");
    let cameras = read("cameras.csv");
    assert!(cameras.lines().nth(1).unwrap().contains(",Rue Haute,true,720,0,2026-03-03T13:00:00+01:00,"), "{cameras}");
    let days = read("days.csv");
    let day = days.lines().nth(1).unwrap();
    assert!(day.starts_with("gate,2026-03-03,10,10,disconnected=10,0,"), "{day}");
    assert!(read("destructions.csv").starts_with('\u{feff}') && read("journal.csv").contains("number,at,author"));

    let (code, _, err) = site.vigie(&arguments).await;
    assert!(code == 1 && err.contains("exists"), "what is there is not written over: {code} {err}");
    let other = site.dir.path().join("other");
    let wrong = [
        (["--from", "2026-03-02", "--to", "2026-03-01"], "has to be before"),
        (["--from", "2024-03-02", "--to", "2026-03-01"], "more than 400 days"),
    ];
    for (period, part) in wrong {
        let arguments = [&["inspection", "--out", other.to_str().unwrap()][..], &period].concat();
        let (code, _, err) = site.vigie(&arguments).await;
        assert!(code == 2 && err.contains(part), "{code} {err}");
        assert!(!other.exists());
    }
    // The act waits for the gateway to enter it.
    let left = std::fs::read_dir(vigie::journals::folder(&site.config.data_dir)).unwrap();
    assert!(left.count() > 0);
}
