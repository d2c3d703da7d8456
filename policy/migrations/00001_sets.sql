-- +goose Up
CREATE TABLE permission_sets (
    voen      TEXT    NOT NULL,
    fin       TEXT    NOT NULL,
    version   BIGINT  NOT NULL,
    block_all BOOLEAN NOT NULL,
    PRIMARY KEY (voen, fin)
);

CREATE TABLE permission_exceptions (
    voen     TEXT NOT NULL,
    fin      TEXT NOT NULL,
    provider TEXT NOT NULL,
    PRIMARY KEY (voen, fin, provider),
    FOREIGN KEY (voen, fin) REFERENCES permission_sets (voen, fin)
);
