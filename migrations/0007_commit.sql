-- What it takes to commit once, whatever is lost on the way.

alter table commit_attempts
    -- Nothing says that it made no replica: one that comes late is compared with what this attempt saw.
    add column may_have_acted boolean not null default true,
    -- When the instances were listed, by Phala Cloud's clock: ours may be off.
    add column listed_at timestamptz,
    -- A person has the word; the app's other commits go on.
    add column parked boolean not null default false,
    -- How often its replica was looked for in vain. Patience is counted in looks: the clocks of the
    -- instances that share the work may differ by more than it.
    add column looks integer not null default 0 check (looks >= 0),
    -- An answer that left open what happened, and what follows when nothing is found.
    add column answer_code text,
    add column answer_reason text,
    add column answer_body text check (length(answer_body) <= 4000),
    add column answer_then text check (answer_then in ('try_again', 'drop_token', 'ask', 'fail')),
    add constraint commit_attempts_answer check ((answer_code is null) = (answer_then is null)),
    add constraint commit_attempts_answer_reason
        check ((answer_code is null) = (answer_reason is null));

update commit_attempts set may_have_acted = (settled_at is null or outcome = 'refused no-effect-seen');
update commit_attempts set parked = true, settled_at = null, outcome = null
    where outcome = 'asked a person' and id in (select attempt_id from requests);

drop index commit_attempts_per_app;
create unique index commit_attempts_per_app on commit_attempts (chain_id, app)
    where settled_at is null and not parked;
create index commit_attempts_by_preparation on commit_attempts (preparation_id);

-- A token whose commit may still be on its way stays sealed until Phala Cloud calls it dead, although
-- another one has taken its place: no other token may be used before that.
alter table preparations
    drop constraint preparations_check2,
    add constraint preparations_token check (
        case
            when ended_at is null then token_sealed is not null
            when ended_as = 'superseded' then true
            else token_sealed is null
        end
    );
create index preparations_sealed on preparations (request_id) where token_sealed is not null;
create index preparations_by_source on preparations (source_cvm, received_at);

alter table requests
    -- When the first token of the request dies: registered requests are committed in this order.
    add column deadline timestamptz not null default 'infinity';
update requests r set deadline = coalesce(
    (select min(expires_at) from preparations p where p.request_id = r.id), 'infinity');

create index requests_turn on requests (deadline, id) where status = 'registered';
create index requests_in_turn on requests (chain_id, app) where status in ('registered', 'committing');
