-- +goose Up
-- What was logged before the log was a chain; Open takes it over, once.
ALTER TABLE audit RENAME TO audit_unchained;

-- Who did what, when: appended in the transaction of what it tells, and chained
-- (docs/audit.md). Texts are stored exactly as they are hashed.
CREATE TABLE audit (
    sequence BIGINT PRIMARY KEY, -- 1, 2, 3 … without gaps
    at       BIGINT NOT NULL,    -- ms since 1970
    actor    TEXT   NOT NULL,
    role     TEXT   NOT NULL,
    source   TEXT   NOT NULL,
    action   TEXT   NOT NULL,
    subject  TEXT   NOT NULL,
    voen     TEXT   NOT NULL,
    fin      TEXT   NOT NULL,
    provider TEXT   NOT NULL,
    before   TEXT   NOT NULL,    -- JSON
    after    TEXT   NOT NULL,    -- JSON
    previous BYTEA  NOT NULL,    -- the hash of the entry before
    hash     BYTEA  NOT NULL,
    seal     BYTEA  NOT NULL
);

CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_actor ON audit (actor, sequence);
CREATE INDEX audit_action ON audit (action, sequence);
CREATE INDEX audit_voen ON audit (voen, sequence);
CREATE INDEX audit_fin ON audit (fin, sequence);
CREATE INDEX audit_provider ON audit (provider, sequence);

-- The last entry. Who appends has this row until the commit.
CREATE TABLE audit_head (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    sequence BIGINT  NOT NULL,
    hash     BYTEA   NOT NULL,
    seal     BYTEA   NOT NULL
);

INSERT INTO audit_head (id, sequence, hash, seal) VALUES (1, 0, '', '');
