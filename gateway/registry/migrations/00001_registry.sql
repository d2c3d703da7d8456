-- +goose Up
CREATE TABLE organisations (
    voen TEXT PRIMARY KEY,
    name TEXT NOT NULL
);

-- Providers and administrators are known by the SHA-256 of their key, which is
-- random and long, so that a plain hash does.
CREATE TABLE providers (
    id       TEXT PRIMARY KEY,
    name     TEXT  NOT NULL,
    key_hash BYTEA NOT NULL UNIQUE
);

CREATE TABLE administrators (
    id       TEXT PRIMARY KEY,
    key_hash BYTEA NOT NULL UNIQUE
);

-- A User ID has six digits, so its hash is keyed (HMAC-SHA-256).
CREATE TABLE subscribers (
    msisdn       TEXT PRIMARY KEY,
    iccid        TEXT  NOT NULL UNIQUE,
    fin          TEXT  NOT NULL,
    given_name   TEXT  NOT NULL,
    surname      TEXT  NOT NULL,
    user_id_hash BYTEA NOT NULL
);

-- voen is empty for a citizen's certificate. card_key is the card's key number.
CREATE TABLE certificates (
    serial     TEXT PRIMARY KEY,
    iccid      TEXT    NOT NULL REFERENCES subscribers (iccid),
    card_key   INTEGER NOT NULL,
    type       TEXT    NOT NULL,
    voen       TEXT    NOT NULL,
    fin        TEXT    NOT NULL,
    der        BYTEA   NOT NULL,
    state      TEXT    NOT NULL, -- active, suspended, revoked
    changed_at BIGINT  NOT NULL  -- of the state, ms since 1970
);

CREATE INDEX certificates_iccid ON certificates (iccid);
CREATE INDEX certificates_employee ON certificates (voen, fin);

-- Times are ms since 1970; ended is NULL until the state is final.
CREATE TABLE transactions (
    id       TEXT PRIMARY KEY,
    provider TEXT   NOT NULL,
    msisdn   TEXT   NOT NULL,
    voen     TEXT   NOT NULL,
    serial   TEXT   NOT NULL,
    accepted BIGINT NOT NULL,
    deadline BIGINT NOT NULL,
    state    TEXT   NOT NULL,
    reason   TEXT   NOT NULL,
    ended    BIGINT
);

CREATE INDEX transactions_unfinished ON transactions (deadline) WHERE ended IS NULL;

-- Who did what, when: appended in the transaction of what it tells.
CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY,
    at       BIGINT NOT NULL,
    actor    TEXT   NOT NULL,
    action   TEXT   NOT NULL,
    subject  TEXT   NOT NULL,
    detail   TEXT   NOT NULL -- JSON
);
