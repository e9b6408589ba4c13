-- What others have waiting at a Safe, as its Transaction Service told and an owner signed. A hint:
-- a nonce in here may only move a new proposal of ours forward, and within a bound.
create table foreign_queued (
    chain_id bigint not null,
    safe bytea not null check (length(safe) = 20),
    safe_tx_hash bytea not null check (length(safe_tx_hash) = 32),
    nonce bigint not null check (nonce >= 0),
    -- What it does, in a few words of ours.
    what text not null check (length(what) <= 200),
    seen_at timestamptz not null,
    primary key (chain_id, safe, safe_tx_hash)
);

create index foreign_queued_nonces on foreign_queued (chain_id, safe, nonce);

-- How the nonce of a Safe's transaction was chosen.
alter table proposals add column nonce_choice text not null default 'next_free'
    check (nonce_choice in ('next_free', 'after_queue'));
