-- The embedded schema registry.
CREATE TABLE registry_schemas (
    id         BIGINT PRIMARY KEY,
    -- SHA-256 of language, text and references: equal schemas have one id.
    hash       TEXT    NOT NULL UNIQUE,
    guid       TEXT    NOT NULL UNIQUE,
    kind       TEXT    NOT NULL,
    text       TEXT    NOT NULL,
    -- A JSON list of name, subject and version.
    uses       TEXT    NOT NULL
);
CREATE TABLE registry_versions (
    subject   TEXT    NOT NULL,
    version   BIGINT NOT NULL,
    schema_id BIGINT NOT NULL REFERENCES registry_schemas (id),
    deleted   BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (subject, version)
);
CREATE INDEX registry_versions_schema ON registry_versions (schema_id);
-- The empty subject stands for all that say nothing themselves.
CREATE TABLE registry_settings (
    subject       TEXT PRIMARY KEY,
    compatibility TEXT,
    mode          TEXT
);
