-- +goose Up
-- Whether the subscriber's card gives short answers (docs/applet.md); one of which
-- nothing is known is taken not to.
ALTER TABLE subscribers ADD COLUMN short_answers BOOLEAN NOT NULL DEFAULT FALSE;
