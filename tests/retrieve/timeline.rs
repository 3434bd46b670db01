use footage::media::{Gap, GapCause};
use footage::units::Ticks90k;
use vigie::index::Change;
use vigie::retrieve::RetrieveError;
use vigie::retrieve::timeline::timeline;

use super::real::encode;
use super::rig::{Rig, at, between};

#[tokio::test]
async fn coverage_and_gaps_of_two_runs_are_exact() {
    let mut rig = Rig::new().await;
    let real = encode("-map 0:v -t 12 -c:v libx264 -g 50 -bf 0 -preset veryfast");
    rig.record(at(0), &real.fragments).await;
    rig.record(at(60_000), &real.fragments).await;
    rig.settle().await;
    let gap = Gap { start: at(12_000), end: at(60_000), cause: GapCause::Silent, lost_packets: 0 };
    rig.footage.index.write(vec![Change::PutGap { camera: rig.camera.clone(), gap }]).await.expect("a good change");

    let ask = async |range, resolution| timeline(&rig.footage, &rig.camera, range, resolution).await;
    let fine = ask(between(6_000, 100_000), Ticks90k::ZERO).await.expect("an answer");
    assert_eq!(fine.coverage, [between(6_000, 12_000), between(60_000, 72_000)]);
    assert_eq!(fine.covered, Ticks90k(18 * 90_000));
    assert_eq!(fine.gaps.iter().map(|g| g.cause).collect::<Vec<_>>(), [GapCause::Silent]);

    let coarse = ask(between(6_000, 100_000), Ticks90k(60 * 90_000)).await.expect("an answer");
    assert_eq!((coarse.coverage.len(), coarse.gaps.len(), coarse.covered), (1, 0, Ticks90k(18 * 90_000)));

    let error = ask(between(0, 33 * 86_400_000), Ticks90k::ZERO).await.expect_err("33 days");
    assert!(matches!(&error, RetrieveError::Invalid(why) if why.contains("32 days")), "{error}");
}
