-- +goose Up
-- How often the decisions of an organisation for a provider may have changed.
-- provider is empty for changes of a default, which are for all providers.
CREATE TABLE permission_views (
    voen     TEXT   NOT NULL,
    provider TEXT   NOT NULL,
    version  BIGINT NOT NULL,
    PRIMARY KEY (voen, provider)
);

CREATE INDEX permission_exceptions_provider ON permission_exceptions (voen, provider, fin);

-- How each save ended: on record, or given up by somebody who found it
-- unfinished. Whoever writes first decides; at is in ms since 1970.
CREATE TABLE permission_saves (
    token     TEXT    PRIMARY KEY,
    on_record BOOLEAN NOT NULL,
    at        BIGINT  NOT NULL
);

-- The epoch, and the Redis server whose sets count in it. One row.
CREATE TABLE permission_epoch (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    number BIGINT  NOT NULL,
    server TEXT    NOT NULL,
    begun  BOOLEAN NOT NULL -- no: the server of the epoch before may still be believed
);
INSERT INTO permission_epoch (id, number, server, begun) VALUES (1, 0, '', TRUE);
