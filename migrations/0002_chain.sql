-- What the chain said: the follower's place on each chain, and the ledger rebuilt from events.

create table chain_heads (
    chain_id bigint primary key,
    number bigint not null check (number >= 0),
    hash bytea not null check (octet_length(hash) = 32),
    block_time timestamptz not null,
    seen_at timestamptz not null
);

-- A window of recent blocks, to find the common ancestor when the chain reorganises.
create table chain_blocks (
    chain_id bigint not null references chain_heads (chain_id),
    number bigint not null,
    hash bytea not null check (octet_length(hash) = 32),
    primary key (chain_id, number)
);

create table ledger (
    chain_id bigint not null,
    block_number bigint not null,
    log_index bigint not null,
    block_hash bytea not null check (octet_length(block_hash) = 32),
    block_time timestamptz not null,
    tx_hash bytea not null check (octet_length(tx_hash) = 32),
    app bytea not null check (octet_length(app) = 20),
    kind text not null,
    value bytea not null,
    primary key (chain_id, block_number, log_index),
    foreign key (chain_id, app) references apps (chain_id, app)
);

create index ledger_by_app on ledger (chain_id, app, block_number, log_index);

-- Executions that a watched Safe reported.
create table safe_executions (
    chain_id bigint not null,
    block_number bigint not null,
    log_index bigint not null,
    block_hash bytea not null check (octet_length(block_hash) = 32),
    tx_hash bytea not null check (octet_length(tx_hash) = 32),
    safe bytea not null check (octet_length(safe) = 20),
    safe_tx_hash bytea not null check (octet_length(safe_tx_hash) = 32),
    success boolean not null,
    primary key (chain_id, block_number, log_index)
);

create index safe_executions_by_hash on safe_executions (chain_id, safe_tx_hash);
