use secrecy::SecretString;

use super::rotate::{Rotated, rotate_own_master};
use super::*;

fn master(digit: char) -> Master {
    Master::from_hex(&SecretString::from(digit.to_string().repeat(64))).unwrap()
}

fn town() -> TenantId {
    "saint-cyr".parse().unwrap()
}

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

/// Something encrypted under a key, to be opened under what should be the same.
fn encrypted(key: &DayKey) -> Vec<u8> {
    let mut out = Vec::new();
    key.cipher.encrypt(b"test", b"footage", &mut out);
    out
}

fn opens(key: &DayKey, encrypted: &[u8]) -> bool {
    key.cipher.open(b"test", &mut encrypted.to_vec()).is_ok_and(|plain| plain == b"footage")
}

#[test]
fn a_day_key_is_made_once_and_found_again_by_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let vault = Vault::open(dir.path(), vec![master('1')]);
    let key = vault.for_day(&town(), day("2026-12-23")).unwrap();
    assert_eq!(vault.for_day(&town(), day("2026-12-23")).unwrap().id, key.id);
    assert_ne!(vault.for_day(&town(), day("2026-12-24")).unwrap().id, key.id);
    assert_ne!(vault.for_day(&"other".parse().unwrap(), day("2026-12-23")).unwrap().id, key.id);

    let again = Vault::open(dir.path(), vec![master('1')]);
    let found = again.find(key.id).unwrap();
    assert_eq!((found.day, &found.tenant), (day("2026-12-23"), &town()));
    assert!(opens(&found, &encrypted(&key)));
    assert_eq!(again.for_day(&town(), day("2026-12-23")).unwrap().id, key.id, "the same key after a restart");
}

#[test]
fn key_files_are_private_and_hold_no_key_in_clear() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let vault = Vault::open(&dir.path().join("keys"), vec![master('1')]);
    vault.for_day(&town(), day("2026-12-23")).unwrap();
    let inner = vault.inner().unwrap();
    for path in inner.paths(&town()).unwrap() {
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
    }
    assert_eq!(std::fs::metadata(dir.path().join("keys")).unwrap().permissions().mode() & 0o777, 0o700);
    let shown = format!("{vault:?}");
    assert!(!shown.contains("1111"), "{shown}");
}

#[test]
fn a_destroyed_key_is_nowhere_and_one_in_use_is_not_destroyed() {
    let dir = tempfile::tempdir().unwrap();
    let vault = Vault::open(dir.path(), vec![master('1')]);
    let key = vault.for_day(&town(), day("2026-12-23")).unwrap();
    let id = key.id;
    assert!(!vault.destroy(&town(), id).unwrap(), "a pack that grows has it");
    assert!(vault.find(id).is_ok());
    drop(key);
    assert!(vault.destroy(&town(), id).unwrap());
    let message = vault.find(id).unwrap_err().to_string();
    assert!(message.contains("backup") && message.contains("destroyed"), "{message}");
    assert!(matches!(Vault::open(dir.path(), vec![master('1')]).find(id), Err(VaultError::NoDayKey { .. })));
    assert!(vault.destroy(&town(), id).unwrap(), "again: absent counts as destroyed");
    assert_ne!(vault.for_day(&town(), day("2026-12-23")).unwrap().id, id);
}

#[test]
fn a_wrong_master_key_is_named_beside_the_right_one() {
    let dir = tempfile::tempdir().unwrap();
    let id = Vault::open(dir.path(), vec![master('1')]).for_day(&town(), day("2026-12-23")).unwrap().id;
    let other = Vault::open(dir.path(), vec![master('2')]);
    let message = other.find(id).unwrap_err().to_string();
    for name in [master('1').id(), master('2').id()] {
        assert!(message.contains(&name.to_string()), "{message}");
    }
    assert!(message.contains("previous_master_key"), "{message}");
    assert!(other.for_day(&town(), day("2026-12-25")).is_ok(), "recording goes on under a key of its own");
    let [(_, reported)] = other.take_troubles().try_into().unwrap();
    assert!(reported.contains(&master('1').id().to_string()), "{reported}");
    assert!(matches!(Vault::none().find(id), Err(VaultError::NoKeys)));
}

#[test]
fn after_the_rotation_of_the_master_key_only_the_new_one_opens() {
    let dir = tempfile::tempdir().unwrap();
    let key = Vault::open(dir.path(), vec![master('1')]).for_day(&town(), day("2026-12-23")).unwrap();
    let both = Vault::open(dir.path(), vec![master('2'), master('1')]);
    assert!(both.find(key.id).is_ok(), "before the rotation, with both");
    assert_eq!(both.wrap_by_current_master().unwrap(), Rotated { wrapped: 1, destroyed: 0 });
    assert_eq!(both.wrap_by_current_master().unwrap(), Rotated::default(), "nothing left to do");
    let after = Vault::open(dir.path(), vec![master('2')]).find(key.id).unwrap();
    assert!(opens(&after, &encrypted(&key)));
    assert!(Vault::open(dir.path(), vec![master('1')]).find(key.id).is_err());
}

#[test]
fn the_master_key_made_here_is_made_once_and_replaced_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("master.key");
    let open = || Vault::open(dir.path(), master::load_or_create(&path).unwrap());
    let key = open().for_day(&town(), day("2026-12-23")).unwrap();
    assert!(opens(&open().find(key.id).unwrap(), &encrypted(&key)));
    let before = std::fs::read_to_string(&path).unwrap();
    let (id, rotated) = rotate_own_master(dir.path(), &path).unwrap();
    assert_eq!(rotated.wrapped, 1);
    assert_eq!(open().masters(), [id]);
    assert!(!std::fs::read_to_string(&path).unwrap().contains(before.trim()));
    assert!(opens(&open().find(key.id).unwrap(), &encrypted(&key)));
}

#[test]
fn after_the_rotation_of_a_tenant_key_every_day_opens_and_the_former_key_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let vault = Vault::open(dir.path(), vec![master('1')]);
    let days = ["2026-12-23", "2026-12-24"].map(|text| vault.for_day(&town(), day(text)).unwrap());
    let former = vault.list().unwrap().into_iter().find(|key| key.day.is_none()).unwrap();
    assert_eq!(vault.rotate_tenant(&town()).unwrap(), Rotated { wrapped: 2, destroyed: 1 });
    let again = Vault::open(dir.path(), vec![master('1')]);
    for key in &days {
        assert!(opens(&again.find(key.id).unwrap(), &encrypted(key)));
    }
    let now = again.list().unwrap();
    assert!(now.iter().all(|key| key.id != former.id && key.under != former.id.to_string()), "{now:?}");
}

#[test]
fn a_rotation_cut_off_at_each_step_leaves_every_day_open_and_is_taken_up() {
    // Day keys wrapped by two generations of tenant keys are what a cut leaves.
    let dir = tempfile::tempdir().unwrap();
    let vault = Vault::open(dir.path(), vec![master('1')]);
    let first = vault.for_day(&town(), day("2026-12-23")).unwrap();
    {
        let inner = vault.inner().unwrap();
        inner.make_tenant(&mut inner.lock(), &town(), 2).unwrap();
    }
    let second = vault.for_day(&town(), day("2026-12-24")).unwrap();
    let under: Vec<_> = vault.list().unwrap().into_iter().filter(|k| k.day.is_some()).map(|k| k.under).collect();
    assert_ne!(under[0], under[1]);
    assert_eq!(vault.rotate_tenant(&town()).unwrap(), Rotated { wrapped: 2, destroyed: 2 });
    let again = Vault::open(dir.path(), vec![master('1')]);
    assert!(opens(&again.find(first.id).unwrap(), &encrypted(&first)));
    assert!(opens(&again.find(second.id).unwrap(), &encrypted(&second)));
}

#[test]
fn a_key_file_changed_in_any_way_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let vault = Vault::open(dir.path(), vec![master('1')]);
    let (a, b) =
        (vault.for_day(&town(), day("2026-12-23")).unwrap(), vault.for_day(&town(), day("2026-12-24")).unwrap());
    let paths = vault.inner().unwrap().paths(&town()).unwrap();
    let path_of = |id: KeyId| paths.iter().find(|path| file::names(path, KeyFileKind::Day, id)).unwrap().clone();
    let (text_a, text_b) = (std::fs::read(path_of(a.id)).unwrap(), std::fs::read(path_of(b.id)).unwrap());
    let refused = |text: &[u8]| {
        std::fs::write(path_of(a.id), text).unwrap();
        Vault::open(dir.path(), vec![master('1')]).find(a.id).is_err()
    };
    assert!(refused(&text_b), "one key under another's name");
    let other_day = String::from_utf8(text_a.clone()).unwrap().replace("2026-12-23", "2027-12-23");
    assert!(refused(other_day.as_bytes()));
    for at in 0..text_a.len() {
        let mut changed = text_a.clone();
        changed[at] ^= 1;
        // White space that stays white space says the same.
        let same = serde_json::from_slice::<KeyFile>(&changed).ok() == serde_json::from_slice(&text_a).ok();
        assert!(same || refused(&changed), "byte {at}");
    }
    assert!(!refused(&text_a));
}

#[test]
fn what_is_no_master_key_is_refused_without_being_repeated() {
    for bad in ["", "12", &"g".repeat(64), &"1".repeat(63), &"é".repeat(32)] {
        let error = Master::from_hex(&SecretString::from(bad)).unwrap_err().to_string();
        assert!(error.contains("64 hexadecimal digits"), "{error}");
    }
}

#[test]
fn a_day_key_that_cannot_be_used_gives_way_to_another_and_stays_where_it_is() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let key = Vault::open(dir.path(), vec![master('1')]).for_day(&town(), day("2026-12-23")).unwrap();
    let inner = Vault::open(dir.path(), vec![master('1')]);
    let path = inner.inner().unwrap().paths(&town()).unwrap().into_iter().find(|path| file::day_and_id(path).is_some());
    let (path, whole) = (path.clone().unwrap(), std::fs::read(path.unwrap()).unwrap());

    let spoiled: [(&str, &dyn Fn()); 2] = [
        ("is damaged", &|| std::fs::write(&path, &whole[..20]).unwrap()),
        ("chmod 600", &|| {
            std::fs::write(&path, &whole).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        }),
    ];
    let mut other = None;
    for (says, spoil) in spoiled {
        spoil();
        let vault = Vault::open(dir.path(), vec![master('1')]);
        let now = vault.for_day(&town(), day("2026-12-23")).unwrap();
        assert_ne!(now.id, key.id);
        assert_eq!(*other.get_or_insert(now.id), now.id, "one other key is enough");
        let [(of, what)] = vault.take_troubles().try_into().unwrap();
        assert!(of == Some(town()) && what.contains(says), "{what}");
        assert!(vault.take_troubles().is_empty(), "each is reported once");
        assert!(path.exists(), "the key that may come back was removed");
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(Vault::open(dir.path(), vec![master('1')]).find(key.id).unwrap().id, key.id);
}

#[test]
fn a_master_key_is_made_only_where_nothing_is_wrapped_by_another() {
    let dir = tempfile::tempdir().unwrap();
    let (path, folder) = (dir.path().join("master.key"), dir.path().join("packs"));
    let (masters, trouble) = master::open(&path, &folder).unwrap();
    assert!(trouble.is_none() && path.exists());
    let right = masters[0].id();
    let key = Vault::open(&folder, masters).for_day(&town(), day("2026-12-23")).unwrap();

    std::fs::rename(&path, dir.path().join("kept")).unwrap();
    let (masters, trouble) = master::open(&path, &folder).unwrap();
    assert!(matches!(trouble, Some(VaultError::NoMaster { .. })) && !path.exists());
    let substitute = masters[0].id();
    let meanwhile = Vault::open(&folder, masters).for_day(&town(), day("2026-12-23")).unwrap();
    assert_ne!(meanwhile.id, key.id);

    std::fs::rename(dir.path().join("kept"), &path).unwrap();
    let (masters, trouble) = master::open(&path, &folder).unwrap();
    assert!(trouble.is_none());
    assert_eq!(masters.iter().map(Master::id).collect::<Vec<_>>(), [right, substitute]);
    let vault = Vault::open(&folder, masters);
    assert!(vault.find(key.id).is_ok() && vault.find(meanwhile.id).is_ok(), "both can be read");
}
