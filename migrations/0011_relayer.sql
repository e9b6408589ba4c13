-- What the relayer says of a proposal that could be executed, and when it looks again.
create table relays (
    proposal_id uuid primary key references proposals (id),
    -- Why it waits; absent when it has nothing against it.
    says text check (length(says) <= 2000),
    said_since timestamptz not null,
    looked_at timestamptz not null,
    next_look_at timestamptz not null
);

-- One try to execute a proposal. A row is the intent: it stands, with the transaction that is signed
-- for it, before anything is sent.
create table relay_tries (
    id uuid primary key,
    proposal_id uuid not null references proposals (id),
    chain_id bigint not null check (chain_id > 0),
    safe bytea not null check (length(safe) = 20),
    relayer bytea not null check (length(relayer) = 20),
    relayer_nonce bigint not null check (relayer_nonce >= 0),
    gas_limit bigint not null check (gas_limit > 0),
    -- The block on whose state it was simulated.
    simulated_block bigint not null,
    created_at timestamptz not null,
    settled_at timestamptz,
    outcome text check (outcome in ('executed', 'failed_inside', 'reverted', 'cancelled', 'nonce_taken')),
    -- The transaction that used the nonce, if it is one of ours, and where.
    tx_hash bytea check (length(tx_hash) = 32),
    block_number bigint,
    check ((settled_at is null) = (outcome is null)),
    check ((tx_hash is null) = (block_number is null)),
    check ((tx_hash is null) = (outcome is null or outcome = 'nonce_taken')),
    -- A nonce of the account is given once.
    unique (chain_id, relayer, relayer_nonce)
);

-- One try at a time for an account, and for a Safe.
create unique index relay_tries_account on relay_tries (chain_id, relayer) where settled_at is null;
create unique index relay_tries_safe on relay_tries (chain_id, safe) where settled_at is null;
-- Nothing is executed twice.
create unique index relay_tries_executed on relay_tries (proposal_id) where outcome = 'executed';
create index relay_tries_of on relay_tries (proposal_id);

-- The transactions signed for a try: all have its nonce, so at most one of them ever happens.
create table relay_transactions (
    hash bytea primary key check (length(hash) = 32),
    try_id uuid not null references relay_tries (id),
    -- 0 is the first, the others take its place.
    number integer not null check (number >= 0),
    -- It executes nothing: an empty transfer of the account to itself, to free the nonce.
    cancels boolean not null,
    -- As it is sent, again and again: the same bytes.
    raw bytea not null,
    -- In wei per gas.
    max_fee bigint not null check (max_fee > 0),
    tip bigint not null check (tip >= 0 and tip <= max_fee),
    signed_at timestamptz not null,
    -- When it was last given to the endpoints.
    sent_at timestamptz,
    unique (try_id, number)
);
