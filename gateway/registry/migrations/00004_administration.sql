-- +goose Up
-- An operator may do everything; a manager what concerns his organisations.
ALTER TABLE administrators ADD COLUMN role TEXT NOT NULL DEFAULT 'operator';

CREATE TABLE administrator_organisations (
    administrator TEXT NOT NULL REFERENCES administrators (id) ON DELETE CASCADE,
    voen          TEXT NOT NULL REFERENCES organisations (voen),
    PRIMARY KEY (administrator, voen)
);

ALTER TABLE providers ADD COLUMN state TEXT NOT NULL DEFAULT 'active';
ALTER TABLE subscribers ADD COLUMN state TEXT NOT NULL DEFAULT 'active';

-- What names are found by: folded text (fold.go). Empty: not filled in yet.
ALTER TABLE organisations ADD COLUMN search TEXT NOT NULL DEFAULT '';
CREATE INDEX organisations_unfilled ON organisations (voen) WHERE search = '';

-- Who works, or worked, for an organisation.
CREATE TABLE employees (
    voen       TEXT NOT NULL,
    fin        TEXT NOT NULL,
    given_name TEXT NOT NULL,
    surname    TEXT NOT NULL,
    search     TEXT NOT NULL, -- FIN, numbers, a line feed, names; folded
    PRIMARY KEY (voen, fin)
);

-- Of the DER, ms since 1970. 0: not filled in yet, nor is the employee.
ALTER TABLE certificates ADD COLUMN not_before BIGINT NOT NULL DEFAULT 0;
ALTER TABLE certificates ADD COLUMN not_after BIGINT NOT NULL DEFAULT 0;
CREATE INDEX certificates_unfilled ON certificates (serial) WHERE not_after = 0;

-- One index for each way to an organisation's employees; each holds all that is
-- asked of a certificate then, so that the DER is not read.
DROP INDEX certificates_employee;
CREATE INDEX certificates_employee ON certificates (voen, fin, state, not_after);
CREATE INDEX certificates_state ON certificates (voen, state, fin, not_after);
CREATE INDEX certificates_expiry ON certificates (voen, not_after, fin, state);

-- For the revocation list.
CREATE INDEX certificates_off ON certificates (serial) WHERE state <> 'active';
