-- Safes stay watched after their proposals: what owners signed can be executed long after it was taken back.
create index proposals_of_safes on proposals (chain_id, owner, nonce) where route = 'safe';

-- Followers read the set again.
insert into watch_versions (chain_id, version) select distinct chain_id, 1 from proposals
on conflict (chain_id) do update set version = watch_versions.version + 1;
