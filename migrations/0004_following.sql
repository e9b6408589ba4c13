-- What it takes to follow a chain at constant cost: what lies deep enough, what is in trouble, what
-- is watched, and how far back the history of each watched contract reaches.

alter table chain_heads
    -- Newest block that is as deep as the policy asks.
    add column deep_number bigint check (deep_number >= 0),
    add column deep_hash bytea check (octet_length(deep_hash) = 32),
    -- Newest block the chain was ever seen to call finalized; nothing at or below it may go.
    add column final_number bigint check (final_number >= 0),
    -- Usual time between two blocks.
    add column block_millis bigint check (block_millis >= 0),
    add constraint chain_heads_deep check ((deep_number is null) = (deep_hash is null));

-- Why a chain cannot be followed at the moment. A halted chain waits for a person.
create table chain_troubles (
    chain_id bigint primary key,
    since timestamptz not null,
    problem text not null,
    halted boolean not null
);

-- Counts changes of what is watched on a chain, so that the follower reads it again only then.
create table watch_versions (
    chain_id bigint primary key,
    version bigint not null
);

-- Contracts whose history is read back to where it starts: apps, and the KMS that announce apps.
create table kms_contracts (
    chain_id bigint not null check (chain_id > 0),
    kms bytea not null check (octet_length(kms) = 20),
    -- As for apps.
    ledger_from bigint check (ledger_from >= 0),
    history_start bigint check (history_start >= 0),
    history_is_whole boolean not null default false,
    primary key (chain_id, kms)
);

alter table apps
    add column discovered text not null default 'request'
        check (discovered in ('request', 'configuration', 'kms')),
    -- First block worth reading: the deployment, or as far back as the settings say.
    add column history_start bigint check (history_start >= 0),
    -- Whether the history starts at the deployment.
    add column history_is_whole boolean not null default false;

comment on column apps.ledger_from is
    'The ledger has every event from this block on; it moves down to history_start.';

create index apps_unread on apps (chain_id, ledger_from)
    where history_start is null or ledger_from is null or ledger_from > history_start;

-- When the state was last read for a request that waits for its owners.
alter table requests add column looked_at timestamptz;

create index requests_awaiting_depth on requests (chain_id, executed_block)
    where executed_at is not null and registered_at is null and ended_as is null
        and attempt_id is null and committed_at is null;
create index requests_longest_unread on requests (chain_id, looked_at nulls first)
    where ended_as is null and executed_at is null and registered_at is null
        and attempt_id is null and committed_at is null and running_at is null;
