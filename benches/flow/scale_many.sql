insert into apps (chain_id, app, first_seen_at, ledger_from, history_start, history_is_whole)
select 8453, decode(lpad(to_hex(n), 40, '0'), 'hex'), now(), 0, 0, true
from generate_series(1048576, 1048576 + 10000 - 1) as n;

insert into requests (id, kind, chain_id, app, source_cvm, compose_hash, device_id, created_at,
    created_by, next_try_at)
select gen_random_uuid(), 'replica', 8453, decode(lpad(to_hex(1048576 + n % 10000), 40, '0'), 'hex'),
    'cvm-' || n, decode(lpad(to_hex(n), 64, '0'), 'hex'), decode(lpad(to_hex(n), 64, '0'), 'hex'),
    now(), 'token:bench', now() + interval '1 day'
from generate_series(1, 100000) as n;

insert into preparations (id, request_id, source_cvm, token_sealed, token_fingerprint, prepared_at,
    expires_at, received_at)
select gen_random_uuid(), id, source_cvm, '\x00', decode(lpad(substr(source_cvm, 5), 64, '0'), 'hex'),
    now(), now() + interval '14 days', now()
from requests;

update compose_proofs set looked_at = now(), next_try_at = now() + interval '1 day';

analyze;
