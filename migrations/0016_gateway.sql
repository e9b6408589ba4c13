-- Events that Phala Cloud told by webhook, so that each is taken once. What is kept of them holds no
-- token. Pruned after a month.
create table webhook_events (
    id text primary key check (length(id) between 1 and 128),
    event text not null check (length(event) <= 64),
    told_at timestamptz,
    received_at timestamptz not null,
    cvm text,
    app bytea check (octet_length(app) = 20),
    compose_hash bytea check (octet_length(compose_hash) = 32),
    -- The request that it opened, or belongs to.
    request_id uuid references requests (id)
);

create index webhook_events_by_age on webhook_events (received_at);

-- Events tell of a CVM.
create index requests_by_source on requests (source_cvm);
