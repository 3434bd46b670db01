-- Accounts at identity providers, by which persons sign in.
CREATE TABLE identity (
    tenant TEXT NOT NULL,
    person TEXT NOT NULL,
    provider TEXT NOT NULL,
    -- In lower case. It names the account until a subject is bound.
    email TEXT,
    issuer TEXT,
    subject TEXT,
    made INTEGER NOT NULL,
    -- When the person first signed in by it.
    bound INTEGER,
    PRIMARY KEY (tenant, person, provider),
    FOREIGN KEY (tenant, person) REFERENCES person ON DELETE CASCADE,
    CHECK (email IS NOT NULL OR subject IS NOT NULL)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX identity_of_email ON identity (tenant, provider, email);
CREATE UNIQUE INDEX identity_of_subject ON identity (tenant, provider, subject);

-- By which account a session was begun; NULL: by a password.
ALTER TABLE session ADD COLUMN provider TEXT;
ALTER TABLE session ADD COLUMN subject TEXT;
ALTER TABLE session ADD COLUMN sid TEXT;
-- What vouched for it, encrypted under a key that follows from the gateway's: the provider asks for it to sign out.
ALTER TABLE session ADD COLUMN id_token BLOB;
