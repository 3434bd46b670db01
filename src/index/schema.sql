-- Times are 1/90000 s since the Unix epoch, durations 1/90000 s.
--
-- The ids of 16 bytes appear once, in `run` and `pack`; everything else refers to them by integers of a few bytes.
-- Foreign keys are declared where the check costs nothing. A pack has none from its segments and runs none from their
-- packs: such a check needs an index that only the check would read.

CREATE TABLE tenant (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE camera (
    id INTEGER PRIMARY KEY,
    tenant INTEGER NOT NULL REFERENCES tenant,
    camera TEXT NOT NULL,
    name TEXT NOT NULL,
    place TEXT NOT NULL,
    configured INTEGER NOT NULL,
    retention_max INTEGER NOT NULL,
    retention_min INTEGER NOT NULL,
    UNIQUE (tenant, camera)
) STRICT;

-- Bounds of a camera that would destroy more than those in force, and when they take effect.
CREATE TABLE pending_policy (
    camera INTEGER PRIMARY KEY REFERENCES camera,
    retention_max INTEGER NOT NULL,
    retention_min INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT;

-- Stores that a camera's packs may lie in, by name, and when it last used each.
CREATE TABLE camera_store (
    camera INTEGER NOT NULL,
    store TEXT NOT NULL,
    used_at INTEGER NOT NULL,
    PRIMARY KEY (camera, store)
) STRICT, WITHOUT ROWID;

-- SEI messages that bring the certificates of a camera that signs its stream, as they were sent, and when they came first.
CREATE TABLE certificate_sei (
    camera INTEGER NOT NULL REFERENCES camera ON DELETE CASCADE,
    at INTEGER NOT NULL,
    -- BLAKE3 of the certificates alone: the message is signed again each time that it is sent.
    certificates BLOB NOT NULL,
    sei BLOB NOT NULL,
    UNIQUE (camera, at)
) STRICT;

-- Starts of the machine, and how the gateway's clock stood last in each: wall clock minus monotonic clock.
CREATE TABLE boot (
    id INTEGER PRIMARY KEY,
    boot BLOB NOT NULL UNIQUE,
    base INTEGER NOT NULL
) STRICT;

CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    run BLOB NOT NULL UNIQUE,
    camera INTEGER NOT NULL REFERENCES camera,
    start INTEGER NOT NULL,
    until INTEGER,
    camera_clock_offset INTEGER,
    timeline_offset INTEGER NOT NULL DEFAULT 0,
    -- How the gateway's clock stood when it was recorded, and its times minus the right ones, by the boot's last base.
    boot INTEGER,
    base INTEGER,
    clock_error INTEGER NOT NULL DEFAULT 0,
    -- How many packs refer to it.
    packs INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX run_by_camera ON run (camera, start);
CREATE INDEX run_by_boot ON run (boot) WHERE boot IS NOT NULL;
CREATE INDEX run_misdated ON run (camera) WHERE clock_error <> 0;

CREATE TABLE pack (
    id INTEGER PRIMARY KEY,
    pack BLOB NOT NULL UNIQUE,
    camera INTEGER NOT NULL REFERENCES camera,
    run INTEGER NOT NULL,
    -- 0 open, 1 sealed, 2 stored, 3 condemned.
    state INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    start INTEGER NOT NULL,
    until INTEGER NOT NULL,
    condemned_at INTEGER,
    -- Why it was condemned: 1 expired, 2 disk full, 3 its hold ended.
    reason INTEGER,
    -- The hold that it was copied for and stays for; without one it is footage as recorded.
    hold INTEGER,
    -- Bytes of samples that lie in other packs.
    lent_bytes INTEGER NOT NULL DEFAULT 0,
    -- The fragments that these bytes are of: first number and count of each range, as 32-bit big-endian numbers.
    lent BLOB NOT NULL DEFAULT x'',
    -- How many fragments its table has; 0 until the pack is whole.
    fragments INTEGER NOT NULL DEFAULT 0,
    -- Its rows of `hook`, six bytes each, so that they are found when it goes.
    hooks BLOB,
    -- The row of `day_key` that it is encrypted under, if it is.
    encrypted_under INTEGER
) STRICT;
CREATE INDEX pack_by_camera ON pack (camera, start);
-- Nearly every pack is stored: what is left is small whatever the size of the index.
CREATE INDEX pack_not_stored ON pack (state, start) WHERE state <> 2;
CREATE INDEX pack_by_hold ON pack (hold) WHERE hold IS NOT NULL;

-- Legal holds. What one covers is not destroyed before it is copied into packs that stay for the hold.
CREATE TABLE hold (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    hold BLOB NOT NULL UNIQUE,
    camera INTEGER NOT NULL REFERENCES camera,
    -- The footage that it covers.
    start INTEGER NOT NULL,
    until INTEGER NOT NULL,
    reference TEXT NOT NULL,
    requester TEXT NOT NULL,
    reason TEXT NOT NULL,
    ends INTEGER NOT NULL,
    placed INTEGER NOT NULL,
    -- When it was released, or was found over.
    closed INTEGER
) STRICT;
CREATE INDEX hold_by_camera ON hold (camera);

-- Of these packs the hold has copied all that it covers: they may go.
CREATE TABLE copied (
    pack INTEGER NOT NULL,
    hold INTEGER NOT NULL,
    PRIMARY KEY (pack, hold)
) STRICT, WITHOUT ROWID;

-- Condemned packs whose bytes are being destroyed: no hold saves them any more.
CREATE TABLE deleting (
    pack INTEGER PRIMARY KEY,
    -- 1: its bytes were found before they were deleted.
    seen INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Stores and keys that this index belongs to, by ids that reveal nothing. Kinds: see `index::identity`.
CREATE TABLE identity (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    id BLOB NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

-- What is wrong, or was. Tenant, camera and subject are empty where there is none.
CREATE TABLE alarm (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    tenant TEXT NOT NULL,
    camera TEXT NOT NULL,
    subject TEXT NOT NULL,
    -- The event that raised it last, and the highest severity of all of them.
    entry TEXT NOT NULL,
    severity INTEGER NOT NULL,
    -- The operator's alone.
    operators INTEGER NOT NULL,
    -- An event ends it; otherwise the operator's acknowledgement does.
    lasts INTEGER NOT NULL,
    began INTEGER NOT NULL,
    ended INTEGER,
    acknowledged INTEGER,
    by_operator INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX alarm_active ON alarm (kind, tenant, camera, subject) WHERE ended IS NULL;
CREATE INDEX alarm_by_tenant ON alarm (tenant);
CREATE INDEX alarm_ended ON alarm (ended) WHERE ended IS NOT NULL;

-- What each target was sent of an alarm last.
CREATE TABLE alarm_notice (
    alarm INTEGER NOT NULL,
    target TEXT NOT NULL,
    at INTEGER NOT NULL,
    is_end INTEGER NOT NULL,
    PRIMARY KEY (alarm, target)
) STRICT, WITHOUT ROWID;
CREATE INDEX alarm_notice_open ON alarm_notice (alarm) WHERE is_end = 0;

-- Fragments that were found damaged beyond repair: no segment has them, a gap (cause 15) stands in their place.
CREATE TABLE damage (
    pack INTEGER NOT NULL,
    first INTEGER NOT NULL,
    fragments INTEGER NOT NULL,
    PRIMARY KEY (pack, first)
) STRICT, WITHOUT ROWID;

-- How far the search for damage has got in each store.
CREATE TABLE scrub (
    store TEXT PRIMARY KEY,
    began INTEGER NOT NULL,
    -- Every pack up to this one was checked; empty at the beginning.
    after BLOB NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;

-- Which packs have a fragment whose id begins so. Of the ids one in 64 is here, and the least of each pack.
CREATE TABLE hook (
    hook INTEGER NOT NULL,
    pack INTEGER NOT NULL,
    PRIMARY KEY (hook, pack)
) STRICT, WITHOUT ROWID;

-- Names of keys that packs are encrypted under, and how many are: a key is destroyed when its day is over and none is left.
CREATE TABLE day_key (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    packs INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TRIGGER pack_encrypted AFTER UPDATE OF encrypted_under ON pack WHEN OLD.encrypted_under IS NOT NEW.encrypted_under BEGIN
    UPDATE day_key SET packs = packs - 1 WHERE id = OLD.encrypted_under;
    UPDATE day_key SET packs = packs + 1 WHERE id = NEW.encrypted_under;
END;
CREATE TRIGGER encrypted_pack_ends AFTER DELETE ON pack WHEN OLD.encrypted_under IS NOT NULL BEGIN
    UPDATE day_key SET packs = packs - 1 WHERE id = OLD.encrypted_under;
END;

-- Bytes of the referrer's fragments lie in the host: it is not deleted before they lie elsewhere.
CREATE TABLE reference (
    host INTEGER NOT NULL,
    referrer INTEGER NOT NULL,
    PRIMARY KEY (host, referrer)
) STRICT, WITHOUT ROWID;
CREATE INDEX reference_by_referrer ON reference (referrer);

-- What a camera's whole packs take, kept by the triggers below: a sum over them would read millions of rows.
CREATE TABLE usage (
    camera INTEGER PRIMARY KEY,
    packs INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    lent_bytes INTEGER NOT NULL
) STRICT;
CREATE TRIGGER usage_changes AFTER UPDATE OF state, bytes, lent_bytes ON pack
WHEN OLD.state IN (1, 2) OR NEW.state IN (1, 2) BEGIN
    INSERT OR IGNORE INTO usage VALUES (NEW.camera, 0, 0, 0);
    UPDATE usage SET packs = packs + (NEW.state IN (1, 2)) - (OLD.state IN (1, 2)),
        bytes = bytes + (NEW.state IN (1, 2)) * NEW.bytes - (OLD.state IN (1, 2)) * OLD.bytes,
        lent_bytes = lent_bytes + (NEW.state IN (1, 2)) * NEW.lent_bytes - (OLD.state IN (1, 2)) * OLD.lent_bytes
        WHERE camera = NEW.camera;
END;
CREATE TRIGGER usage_ends AFTER DELETE ON pack WHEN OLD.state IN (1, 2) BEGIN
    UPDATE usage SET packs = packs - 1, bytes = bytes - OLD.bytes, lent_bytes = lent_bytes - OLD.lent_bytes
        WHERE camera = OLD.camera;
END;
CREATE TRIGGER usage_of_nobody AFTER DELETE ON camera BEGIN
    DELETE FROM usage WHERE camera = OLD.id;
END;

-- Segments of whole packs that readers may see: those of condemned packs are deleted in the transaction that
-- condemns, so that no query needs to look at the pack. A range query is one walk over neighbouring rows.
CREATE TABLE segment (
    camera INTEGER NOT NULL,
    start INTEGER NOT NULL,
    duration INTEGER NOT NULL,
    decode_time INTEGER NOT NULL,
    pack INTEGER NOT NULL,
    first_fragment INTEGER NOT NULL,
    fragments INTEGER NOT NULL,
    PRIMARY KEY (camera, start, pack)
) STRICT, WITHOUT ROWID;

-- Segments of open packs, which are rewritten every second: side by side here, a flush of a thousand cameras dirties
-- a dozen pages and not a thousand. They move to `segment` when their pack is sealed. No (camera, start, pack) is in both.
CREATE TABLE open_segment (
    camera INTEGER NOT NULL,
    start INTEGER NOT NULL,
    duration INTEGER NOT NULL,
    decode_time INTEGER NOT NULL,
    pack INTEGER NOT NULL,
    first_fragment INTEGER NOT NULL,
    fragments INTEGER NOT NULL,
    PRIMARY KEY (camera, start, pack)
) STRICT, WITHOUT ROWID;

-- Segments of packs that stay for a hold, which are no part of the camera's own timeline.
CREATE TABLE held_segment (
    hold INTEGER NOT NULL,
    start INTEGER NOT NULL,
    duration INTEGER NOT NULL,
    decode_time INTEGER NOT NULL,
    pack INTEGER NOT NULL,
    first_fragment INTEGER NOT NULL,
    fragments INTEGER NOT NULL,
    PRIMARY KEY (hold, start, pack)
) STRICT, WITHOUT ROWID;

CREATE TABLE gap (
    camera INTEGER NOT NULL,
    start INTEGER NOT NULL,
    until INTEGER NOT NULL,
    cause INTEGER NOT NULL,
    lost_packets INTEGER NOT NULL,
    PRIMARY KEY (camera, start, until)
) STRICT, WITHOUT ROWID;
-- Gaps of over 15 min, which a range query cannot find by looking a bounded time before its start.
CREATE INDEX gap_long ON gap (camera, start) WHERE until - start > 81000000;

-- The gap that lasts, at most one a camera.
CREATE TABLE open_gap (
    camera INTEGER PRIMARY KEY REFERENCES camera,
    start INTEGER NOT NULL,
    cause INTEGER NOT NULL
) STRICT;

-- What cameras noticed (ONVIF), by the gateway's clock: gone with the footage of its time.
CREATE TABLE occurrence (
    id INTEGER PRIMARY KEY,
    camera INTEGER NOT NULL REFERENCES camera ON DELETE CASCADE,
    at INTEGER NOT NULL,
    -- 1 motion, 2 tampering, 3 digital input.
    kind INTEGER NOT NULL,
    topic TEXT NOT NULL,
    source TEXT NOT NULL,
    -- 1: it began, 0: it ended; without: it has no duration.
    active INTEGER
) STRICT;
CREATE INDEX occurrence_by_camera ON occurrence (camera, at);

CREATE TABLE event (
    -- Never used twice, even when all are pruned.
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    -- 0: the gateway's own, for every tenant to read; -1: the operator's alone.
    tenant INTEGER NOT NULL,
    camera INTEGER,
    kind TEXT NOT NULL,
    -- The whole event in its canonical encoding (src/event.rs).
    entry TEXT NOT NULL
) STRICT;
CREATE INDEX event_by_tenant ON event (tenant);
CREATE INDEX event_by_camera ON event (camera) WHERE camera IS NOT NULL;
CREATE INDEX event_by_time ON event (at);

-- What retention goes by when the wall clock steps ahead; one row, rewritten at each sweep.
CREATE TABLE steady_clock (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    steady INTEGER NOT NULL,
    wall INTEGER NOT NULL,
    held INTEGER NOT NULL,
    lead INTEGER NOT NULL
) STRICT;

-- The register of destructions: one row for a camera, a UTC day of footage, a reason and an outcome, which grows as that
-- day's packs go. A row for each pack would outgrow the rest of the index.
CREATE TABLE deletion (
    camera INTEGER NOT NULL,
    day INTEGER NOT NULL,
    -- As in `pack`.
    reason INTEGER NOT NULL,
    -- 1 destroyed: the bytes were found, then deleted. 2 was absent: there was nothing to delete.
    outcome INTEGER NOT NULL,
    start INTEGER NOT NULL,
    until INTEGER NOT NULL,
    packs INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    PRIMARY KEY (camera, day, reason, outcome)
) STRICT, WITHOUT ROWID;

-- Requests for footage (src/desk.rs): what was asked of a tenant, and what was done for it.
CREATE TABLE request (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    request BLOB NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    -- Counts the changes: each is made of the one before.
    version INTEGER NOT NULL,
    -- The procedure's number, without what people write differently.
    procedure TEXT NOT NULL,
    opened INTEGER NOT NULL,
    closed INTEGER,
    destroy_at INTEGER,
    -- The whole of it, JSON.
    file TEXT NOT NULL
) STRICT;
CREATE INDEX request_by_tenant ON request (tenant, procedure);

-- What a request asks for, camera by camera.
CREATE TABLE request_part (
    request INTEGER NOT NULL REFERENCES request ON DELETE CASCADE,
    camera TEXT NOT NULL,
    start INTEGER NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (request, camera, start, until)
) STRICT, WITHOUT ROWID;
