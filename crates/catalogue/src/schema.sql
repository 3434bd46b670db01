-- Times are milliseconds since the Unix epoch, days are YYYY-MM-DD.

-- A catalogue of Vigie's: "VIGC".
PRAGMA application_id = 0x56494743;

-- One row: which catalogue this is, and how often it was changed. An older copy has a lower generation.
CREATE TABLE mark (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id BLOB NOT NULL,
    generation INTEGER NOT NULL
) STRICT;

INSERT INTO mark VALUES (1, randomblob(16), 0);

CREATE TABLE person (
    tenant TEXT NOT NULL,
    person TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    act_authority TEXT NOT NULL,
    act_number TEXT NOT NULL,
    act_date TEXT NOT NULL,
    act_until TEXT NOT NULL,
    -- JSON, as `Scope` is encoded.
    scope TEXT NOT NULL,
    since INTEGER NOT NULL,
    revoked INTEGER,
    PRIMARY KEY (tenant, person)
) STRICT, WITHOUT ROWID;

CREATE TABLE token (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    person TEXT NOT NULL,
    label TEXT NOT NULL,
    -- BLAKE3 of its text.
    hash BLOB NOT NULL,
    made INTEGER NOT NULL,
    until INTEGER NOT NULL,
    used INTEGER,
    revoked INTEGER,
    FOREIGN KEY (tenant, person) REFERENCES person ON DELETE CASCADE
) STRICT;

CREATE INDEX token_of_person ON token (tenant, person);

-- Footage that a person may see beyond their designation.
CREATE TABLE footage_grant (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    person TEXT NOT NULL,
    -- A JSON array of camera ids.
    cameras TEXT NOT NULL,
    start INTEGER NOT NULL,
    "end" INTEGER NOT NULL,
    reference TEXT NOT NULL,
    reason TEXT NOT NULL,
    until INTEGER NOT NULL,
    given INTEGER NOT NULL,
    revoked INTEGER,
    FOREIGN KEY (tenant, person) REFERENCES person ON DELETE CASCADE
) STRICT;

CREATE INDEX grant_of_person ON footage_grant (tenant, person);

-- How a person signs in.
CREATE TABLE credential (
    tenant TEXT NOT NULL,
    person TEXT NOT NULL,
    -- Argon2id, as a PHC string.
    password TEXT NOT NULL,
    -- The TOTP secret, encrypted under a key that follows from the gateway's.
    totp BLOB NOT NULL,
    -- The last time step whose code was taken: none is taken twice.
    step INTEGER NOT NULL,
    -- A JSON array: BLAKE3 of the recovery codes that are left, in hexadecimal digits.
    recovery TEXT NOT NULL,
    made INTEGER NOT NULL,
    PRIMARY KEY (tenant, person),
    FOREIGN KEY (tenant, person) REFERENCES person ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- A link by which a person chooses how to sign in, once.
CREATE TABLE invitation (
    tenant TEXT NOT NULL,
    person TEXT NOT NULL,
    hash BLOB NOT NULL,
    totp BLOB NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (tenant, person),
    FOREIGN KEY (tenant, person) REFERENCES person ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE session (
    -- BLAKE3 of what the cookie holds.
    hash BLOB PRIMARY KEY,
    tenant TEXT NOT NULL,
    person TEXT NOT NULL,
    address TEXT,
    made INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    until INTEGER NOT NULL,
    FOREIGN KEY (tenant, person) REFERENCES person ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX session_of_person ON session (tenant, person);
