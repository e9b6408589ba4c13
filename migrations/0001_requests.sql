-- Requests, what was prepared, proposed, signed and tried for them.
-- Addresses and hashes are bytea with their length checked; times are timestamptz.

create table apps (
    chain_id bigint not null check (chain_id > 0),
    app bytea not null check (octet_length(app) = 20),
    first_seen_at timestamptz not null,
    -- First block whose events the ledger holds; null until the follower has read it.
    ledger_from bigint check (ledger_from >= 0),
    primary key (chain_id, app)
);

create table requests (
    id uuid primary key,
    kind text not null check (kind = 'replica'),
    chain_id bigint not null,
    app bytea not null,
    source_cvm text not null,
    node_id text,
    compose_hash bytea not null check (octet_length(compose_hash) = 32),
    device_id bytea not null check (octet_length(device_id) = 32),
    note text check (length(note) <= 2000),
    created_at timestamptz not null,
    created_by text not null,

    -- Facts, in the order they come about. The status is computed from them, never written.
    proposal_id uuid,
    approved_at timestamptz,
    executed_at timestamptz,
    executed_block bigint,
    executed_block_hash bytea check (octet_length(executed_block_hash) = 32),
    executed_tx bytea check (octet_length(executed_tx) = 32),
    registered_at timestamptz,
    registered_block bigint,
    registered_block_hash bytea check (octet_length(registered_block_hash) = 32),
    attempt_id uuid,
    replica_id text,
    committed_at timestamptz,
    running_at timestamptz,
    attention text,
    ended_at timestamptz,
    ended_as text check (ended_as in ('rejected', 'withdrawn', 'expired', 'failed')),
    ended_code text,
    ended_reason text,

    status text not null generated always as (
        case
            when ended_as is not null then ended_as
            when running_at is not null then 'running'
            when committed_at is not null then 'committed'
            when attempt_id is not null then 'committing'
            when registered_at is not null then 'registered'
            when executed_at is not null then 'executed'
            when approved_at is not null then 'approved'
            when proposal_id is not null then 'proposed'
            else 'prepared'
        end
    ) stored,

    -- The row is the job: who works on it, until when, and when to look again.
    reason text,
    lease_token uuid,
    lease_until timestamptz,
    attempts integer not null default 0 check (attempts >= 0),
    next_try_at timestamptz not null,

    foreign key (chain_id, app) references apps (chain_id, app),
    check ((executed_at is null) = (executed_block is null)),
    check ((executed_at is null) = (executed_block_hash is null)),
    check ((registered_at is null) = (registered_block is null)),
    check ((registered_at is null) = (registered_block_hash is null)),
    check ((committed_at is null) = (replica_id is null)),
    check ((ended_at is null) = (ended_as is null)),
    check ((lease_token is null) = (lease_until is null))
);

-- One replica answers one request.
create unique index requests_replica on requests (replica_id) where replica_id is not null;
create index requests_due on requests (next_try_at)
    where ended_as is null and running_at is null;
create index requests_newest on requests (created_at desc, id desc);
create index requests_by_status on requests (status, created_at desc, id desc);
create index requests_by_app on requests (chain_id, app, created_at desc, id desc);

-- A preparation: one commit token, sealed. The token is erased when the preparation ends.
create table preparations (
    id uuid primary key,
    request_id uuid not null references requests (id),
    source_cvm text not null,
    node_id text not null default '',
    token_sealed bytea,
    token_fingerprint bytea not null check (octet_length(token_fingerprint) = 32),
    prepared_at timestamptz not null,
    expires_at timestamptz not null check (expires_at > prepared_at),
    received_at timestamptz not null,
    ended_at timestamptz,
    ended_as text check (ended_as in ('used', 'superseded', 'refused', 'expired', 'dropped')),
    check ((ended_at is null) = (ended_as is null)),
    check ((ended_at is null) = (token_sealed is not null))
);

-- A newer prepare for the same source and node voids the older token, so at most one lives.
create unique index preparations_live on preparations (source_cvm, node_id) where ended_at is null;
create unique index preparations_live_per_request on preparations (request_id) where ended_at is null;
create unique index preparations_token on preparations (token_fingerprint);

-- A proposal: the calls, the owner's route and, for a Safe, the exact transaction its owners sign.
create table proposals (
    id uuid primary key,
    request_id uuid not null references requests (id),
    route text not null check (route in ('safe', 'nested_safe', 'timelock', 'governor', 'eoa')),
    chain_id bigint not null,
    owner bytea not null check (octet_length(owner) = 20),
    calls jsonb not null,
    warnings jsonb not null,
    safe_version text,
    safe_tx jsonb,
    nonce bigint check (nonce >= 0),
    threshold integer check (threshold > 0),
    owners bytea[],
    domain_hash bytea check (octet_length(domain_hash) = 32),
    message_hash bytea check (octet_length(message_hash) = 32),
    safe_tx_hash bytea check (octet_length(safe_tx_hash) = 32),
    created_at timestamptz not null,
    replaced_at timestamptz,
    replaced_reason text,
    check ((route = 'safe') = (safe_tx is not null)),
    check ((safe_tx is null) = (safe_tx_hash is null)),
    check ((safe_tx is null) = (threshold is null)),
    check ((replaced_at is null) = (replaced_reason is null))
);

create index proposals_by_owner on proposals (chain_id, owner, nonce) where replaced_at is null;
create unique index proposals_live on proposals (request_id) where replaced_at is null;
create index proposals_by_hash on proposals (chain_id, safe_tx_hash);

alter table requests add foreign key (proposal_id) references proposals (id);

create table confirmations (
    proposal_id uuid not null references proposals (id),
    owner bytea not null check (octet_length(owner) = 20),
    signature bytea not null check (octet_length(signature) = 65),
    received_at timestamptz not null,
    primary key (proposal_id, owner)
);

-- The intent to commit, written before the call and settled after it.
create table commit_attempts (
    id uuid primary key,
    request_id uuid not null references requests (id),
    preparation_id uuid not null references preparations (id),
    chain_id bigint not null,
    app bytea not null check (octet_length(app) = 20),
    transaction_hash bytea check (octet_length(transaction_hash) = 32),
    instances_before text[] not null,
    started_at timestamptz not null,
    settled_at timestamptz,
    outcome text,
    check ((settled_at is null) = (outcome is null))
);

create unique index commit_attempts_unsettled on commit_attempts (request_id) where settled_at is null;
-- Commits are serialised per app: whose a new instance is can only be told when no other commit may
-- have made it. It covers each source CVM too, where a newer prepare would void a token in use.
create unique index commit_attempts_per_app on commit_attempts (chain_id, app) where settled_at is null;

alter table requests add foreign key (attempt_id) references commit_attempts (id);
