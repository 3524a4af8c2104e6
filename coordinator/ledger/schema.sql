-- The ledger. Each version is one section, begun by a line
-- "-- version N"; a ledger is brought from its own version to the last by running
-- those that it lacks, in one transaction. A section is never changed once released.
-- States and outcomes are the numbers of the enums in ledger.h.
-- version 1
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('epoch', 0);

CREATE TABLE models (
    sha256          TEXT PRIMARY KEY,
    sample_rate     INTEGER NOT NULL,
    hop             INTEGER NOT NULL,
    max_duration_ms INTEGER NOT NULL,
    frames_per_s    REAL NOT NULL,
    image           INTEGER NOT NULL,
    codebooks       INTEGER NOT NULL,
    guidance        REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE owners (
    name   TEXT PRIMARY KEY,
    weight REAL NOT NULL DEFAULT 1, -- not read: the configuration says it
    used_s REAL NOT NULL DEFAULT 0 -- GPU-seconds of attempts that ended
) STRICT, WITHOUT ROWID;

CREATE TABLE jobs (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    state        INTEGER NOT NULL,
    film         TEXT NOT NULL,
    output       TEXT NOT NULL,
    owner        TEXT NOT NULL REFERENCES owners (name),
    priority     INTEGER NOT NULL,
    request      BLOB NOT NULL, -- the SUBMIT message, whole
    identity     TEXT NOT NULL, -- of film, settings and output: what makes two submissions one job
    model        TEXT NOT NULL, -- sha256; '' until a model is chosen
    duration_ms  INTEGER NOT NULL DEFAULT 0,
    cues         INTEGER NOT NULL DEFAULT 0,
    segments     INTEGER NOT NULL DEFAULT 0,
    done         INTEGER NOT NULL DEFAULT 0,
    submitted_ms INTEGER NOT NULL,
    ended_ms     INTEGER NOT NULL DEFAULT 0,
    reason       TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX jobs_by_identity ON jobs (identity);
CREATE INDEX jobs_by_state ON jobs (state);

CREATE TABLE segments (
    job          INTEGER NOT NULL REFERENCES jobs (id),
    segment      INTEGER NOT NULL, -- its index in the plan
    state        INTEGER NOT NULL,
    cue          INTEGER NOT NULL,
    place        INTEGER NOT NULL, -- within its cue; 0 has no predecessor
    audio_ms     INTEGER NOT NULL, -- of music to compose, the prompt not counted
    remaining_ms INTEGER NOT NULL, -- the same to the end of its cue
    fence        INTEGER NOT NULL DEFAULT 0,
    troubles     INTEGER NOT NULL DEFAULT 0, -- attempts that a GPU failed
    losses       INTEGER NOT NULL DEFAULT 0, -- attempts that were lost on the way
    PRIMARY KEY (job, segment)
) STRICT, WITHOUT ROWID;

CREATE TABLE attempts (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    job       INTEGER NOT NULL,
    segment   INTEGER NOT NULL,
    fence     INTEGER NOT NULL,
    worker    TEXT NOT NULL,
    outcome   INTEGER NOT NULL DEFAULT 0, -- 0: live
    leased_ms INTEGER NOT NULL,
    ended_ms  INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX attempts_of_segment ON attempts (job, segment);
CREATE INDEX attempts_live ON attempts (job, segment) WHERE outcome = 0;

-- version 2
CREATE TABLE nodes ( -- what operators have said of workers, by name
    name        TEXT PRIMARY KEY,
    drained     INTEGER NOT NULL,
    quarantined INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('queue_disabled', 0), ('queue_stopped', 0);
ALTER TABLE attempts ADD COLUMN detail TEXT NOT NULL DEFAULT ''; -- why it came to nothing, as its worker says
CREATE INDEX attempts_failed ON attempts (id) WHERE outcome > 3;
CREATE INDEX jobs_by_output ON jobs (output);

-- version 3
ALTER TABLE segments ADD COLUMN reopened INTEGER NOT NULL DEFAULT 0; -- attempts up to this fence do not count any more
ALTER TABLE segments ADD COLUMN spoilt INTEGER NOT NULL DEFAULT 0;   -- how often its finished part was damaged

-- version 4
ALTER TABLE models ADD COLUMN license TEXT NOT NULL DEFAULT ''; -- how its text begins
