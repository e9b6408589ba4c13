-- The journal: every change of a request, in order, each entry chained to the one before it.

create table journal (
    seq bigint primary key check (seq > 0),
    at timestamptz not null,
    request_id uuid references requests (id),
    actor text not null,
    kind text not null,
    -- The exact text that was hashed, JSON inside.
    body text not null,
    prev_hash bytea not null check (octet_length(prev_hash) = 32),
    hash bytea not null unique check (octet_length(hash) = 32)
);

create index journal_by_request on journal (request_id, seq);

create function journal_is_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'the journal is append-only';
end
$$;

create trigger journal_append_only before update or delete or truncate on journal
    for each statement execute function journal_is_append_only();

-- Messages to the world, written with the change they tell about and delivered afterwards.
create table outbox (
    id bigint generated always as identity primary key,
    request_id uuid references requests (id),
    kind text not null,
    body jsonb not null,
    created_at timestamptz not null,
    delivered_at timestamptz,
    attempts integer not null default 0,
    next_try_at timestamptz not null,
    last_error text
);

create index outbox_due on outbox (next_try_at) where delivered_at is null;
-- A reminder is said once.
create unique index outbox_once on outbox (request_id, kind);

create table api_tokens (
    id uuid primary key,
    name text not null check (length(name) between 1 and 100),
    secret_hash bytea not null unique check (octet_length(secret_hash) = 32),
    scopes text[] not null check (scopes <@ array['read', 'write'] and cardinality(scopes) > 0),
    created_at timestamptz not null,
    last_used_at timestamptz,
    revoked_at timestamptz
);
