-- What pipelines have run, and what is pinned. Times are milliseconds since 1970.
CREATE TABLE pipeline_revisions (
    pipeline TEXT    NOT NULL,
    -- SHA-256 of the text.
    revision TEXT    NOT NULL,
    file     TEXT    NOT NULL,
    text     TEXT    NOT NULL,
    -- Empty where git knows nothing of it.
    commit_id TEXT   NOT NULL,
    author    TEXT   NOT NULL,
    subject   TEXT   NOT NULL,
    -- In seconds since 1970.
    committed_at INTEGER NOT NULL,
    last_at  INTEGER NOT NULL,
    PRIMARY KEY (pipeline, revision)
);
CREATE TABLE pipeline_history (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    instance TEXT    NOT NULL,
    pipeline TEXT    NOT NULL,
    -- Empty where there is none.
    revision TEXT    NOT NULL,
    action   TEXT    NOT NULL,
    actor    TEXT    NOT NULL,
    reason   TEXT    NOT NULL
);
CREATE INDEX pipeline_history_pipeline ON pipeline_history (pipeline, id);
CREATE TABLE pipeline_pins (
    pipeline TEXT    PRIMARY KEY,
    revision TEXT    NOT NULL,
    -- The content that it is held against.
    rejected TEXT    NOT NULL,
    until    TEXT    NOT NULL,
    actor    TEXT    NOT NULL,
    reason   TEXT    NOT NULL,
    at       INTEGER NOT NULL
);
