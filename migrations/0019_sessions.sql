-- People who sign in with their wallets.

-- What was given out to be signed. Taken, and with that gone, by the first who hands it back; pruned when
-- it has expired.
create table sign_in_nonces (
    nonce text primary key check (length(nonce) = 32),
    -- Who asked, to bound how many one of them holds.
    peer text not null check (length(peer) between 1 and 64),
    address bytea not null check (octet_length(address) = 20),
    chain_id bigint not null check (chain_id > 0),
    request_id uuid not null unique,
    expires_at timestamptz not null
);

create index sign_in_nonces_by_peer on sign_in_nonces (peer, expires_at);
create index sign_in_nonces_by_end on sign_in_nonces (expires_at);

-- Who is signed in. The id stands in a cookie, and only its hash here. Pruned when it has ended.
create table sessions (
    id_hash bytea primary key check (octet_length(id_hash) = 32),
    address bytea not null check (octet_length(address) = 20),
    created_at timestamptz not null,
    last_seen_at timestamptz not null check (last_seen_at >= created_at),
    expires_at timestamptz not null check (expires_at > created_at)
);

create index sessions_by_end on sessions (expires_at);

-- A token is good for the two scopes of old, or for roles.
alter table api_tokens drop constraint api_tokens_scopes_check;
alter table api_tokens add constraint api_tokens_scopes_check check (
    scopes <@ array['read', 'write', 'viewer', 'auditor', 'requester', 'admin']
    and cardinality(scopes) > 0
);
