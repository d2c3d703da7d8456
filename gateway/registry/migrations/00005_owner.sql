-- +goose Up
-- Whose record this is: a key derived from the pepper, which is one of a master
-- key's. One row.
CREATE TABLE owner (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    fingerprint BYTEA NOT NULL
);
