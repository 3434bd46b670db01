//! A real camera into a real S3 server, through a gateway that encrypts what it sends there.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use footage::units::WallTime;
use testkit::camera::{self, Server};
use vigie::config::StoreConfig;
use vigie::demo;
use vigie::gateway::{self, Gateway};

use super::*;
use crate::seaweed::Seaweed;

/// A hang guard.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_goes_encrypted_to_s3_and_comes_back_to_a_player() {
    let seaweed = Seaweed::start().await;
    let mut camera = camera::demo_camera().unwrap();
    camera.path = "mairie".to_owned();
    let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), vec![camera]).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let cameras = vec![demo::camera("mairie".parse().unwrap(), "Mairie de Saint-Cyr", server.url("mairie"))];
    let mut config = demo::config((Ipv4Addr::LOCALHOST, 0).into(), dir.path(), cameras).unwrap();
    config.stores = vec![StoreConfig { s3: seaweed.access(seaweed.port()), ..StoreConfig::at(seaweed.url("town")) }];
    assert!(config.stores[0].encrypt, "the default for S3");
    (config.recording.durability, config.recording.pack_duration_max) =
        (Duration::from_millis(200), Duration::from_secs(2));
    let running = Gateway::start(&config).await.unwrap();
    let (index, everything) =
        (running.footage().index.clone(), TimeRange::new(WallTime(i64::MIN), WallTime(i64::MAX)).unwrap());
    let mairie = key("demo/mairie");
    let stored = async {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        while index.packs_in_state(PackState::Stored, 9).await.unwrap().len() < 2 {
            tick.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, stored).await.expect("two packs are in the store");
    running.stop().await;

    // From the store alone, by a gateway that has just started.
    std::fs::remove_dir_all(&config.spool_dir).unwrap();
    let opened = gateway::open(&config, false).await.unwrap();
    let objects: Vec<Listed> = opened.store.list().try_collect().await.unwrap();
    assert!(objects.len() >= 2);
    for object in &objects {
        let (camera, pack) = object.pack.clone().expect("the gateway knows its own");
        assert_eq!(camera, mairie);
        let bytes = opened.store.get_range(&camera, pack, 0..object.bytes).await.unwrap();
        for what in ["mairie", "demo", "ftyp", "moof", "mdat", "avc1"] {
            assert!(!contains(&bytes, what.as_bytes()) && !object.location.contains(what), "{what} shows");
        }
    }
    let footage = Footage::new(opened.index.clone(), opened.packs.clone(), opened.clock.clone());
    let spans = opened.index.spans(&mairie, everything).await.unwrap();
    let range = TimeRange::new(spans[0].start(), spans[0].start().saturating_add(Ticks90k(3 * 90_000))).unwrap();
    let clip = Clip::new(&footage, &mairie, range).await.unwrap();
    let bytes = clip.body(0..clip.len()).try_collect::<Vec<_>>().await.unwrap().concat();
    let file = dir.path().join("clip.mp4");
    std::fs::write(&file, bytes).unwrap();
    let said =
        Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(&file).args(["-f", "null", "-"]).output().unwrap();
    assert!(said.status.success() && said.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));

    // The keys are listed, and no key is in the list.
    let shown = format!("{:?}", opened.keys.vault().list().unwrap());
    let master = std::fs::read_to_string(dir.path().join("keys").join("master.key")).unwrap();
    assert!(!shown.contains(master.trim()));
}
