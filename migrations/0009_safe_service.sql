-- What is known of a proposal in the Transaction Service of its chain. A row is made when a chain
-- has such a service, and is the intent to post: it stands before the first call.
create table mailings (
    proposal_id uuid primary key references proposals (id),
    created_at timestamptz not null,
    -- When the service was first seen to have it.
    posted_at timestamptz,
    read_at timestamptz,
    -- When something last happened: pauses grow with the time since.
    quiet_since timestamptz not null,
    -- What the service says of its nonce. A hint: the chain decides.
    hint text check (length(hint) <= 2000),
    -- Why the service could not be used, and how often in a row.
    problem text check (length(problem) <= 2000),
    attempts integer not null default 0 check (attempts >= 0),
    next_try_at timestamptz not null,
    -- Counts wake-ups, so that one during an exchange is not lost.
    wakes integer not null default 0
);

create index mailings_due on mailings (next_try_at);
