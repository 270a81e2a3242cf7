-- A row for every table of v2.sql, so that applying a later schema is tried on data.

select make_partition('2025-03-10');

insert into workspaces values ('00000000-0000-7000-8000-000000000001', 'w', '2025-03-01');
insert into domains values ('go.example', '00000000-0000-7000-8000-000000000001', '2025-03-01');
insert into api_keys values (
    '00000000-0000-7000-8000-000000000002', '00000000-0000-7000-8000-000000000001', 'key',
    decode(repeat('ab', 32), 'hex'), '1234', '{track,read}', '2025-03-01', null);
insert into programs values (
    '00000000-0000-7000-8000-000000000003', 12, '00000000-0000-7000-8000-000000000001',
    'p', 'https://shop.example', 'first_click', 30, 90, '2025-03-01');
insert into partners values (
    '00000000-0000-7000-8000-000000000004', '00000000-0000-7000-8000-000000000001',
    'prt_1', 'jane', 'Jane', 'jane@example.com', '2025-03-01');
insert into program_partners values (
    '00000000-0000-7000-8000-000000000003', '00000000-0000-7000-8000-000000000004',
    7, 6, 5, 4, 3, '2025-03-01');
insert into links values (
    '00000000-0000-7000-8000-000000000005', '00000000-0000-7000-8000-000000000001',
    'lnk_1', '-', 'SPRING', '', 'https://shop.example',
    '00000000-0000-7000-8000-000000000003', '00000000-0000-7000-8000-000000000004',
    true, 7, 6, 5, 4, 3, '2025-03-10', '2025-03-01');
insert into link_aliases values (
    '-', 'WINTER', '00000000-0000-7000-8000-000000000005', '2025-03-01');
insert into imported_clicks values (
    '00000000-0000-7000-8000-000000000001', 'tok', '01957f3f-0000-7000-8000-000000000001',
    '00000000-0000-7000-8000-000000000005', '2025-03-01');

insert into customers (id, workspace_id, external_id, status, seen_at, name, name_at, name_by)
values (
    '00000000-0000-7000-8000-000000000006', '00000000-0000-7000-8000-000000000001',
    'user', 'lead', '2025-03-10', 'Alex', '2025-03-10',
    '01957f3f-0000-7000-8000-000000000002');
insert into events (
    id, at, digest, kind, is_test, is_bot, is_duplicate, quantity, epoch, shard, entry_seq,
    entry_ms, workspace_id, link_id, program_id, partner_id, dialect, name, properties,
    visitor, ip, country, failed, recorded_at)
values (
    '01957f3f-0000-7000-8000-000000000001', '2025-03-10', 1, 'click', false, false, false,
    1, 1, 0, 0, 1741564800000, '00000000-0000-7000-8000-000000000001',
    '00000000-0000-7000-8000-000000000005', '00000000-0000-7000-8000-000000000003',
    '00000000-0000-7000-8000-000000000004', 'affitor', null, '{"a": 1}',
    decode(repeat('cd', 8), 'hex'), '198.51.100.7', 'GB', '{geo}', '2025-03-10'), (
    '01957f3f-0000-7000-8000-000000000002', '2025-03-10', 2, 'lead', false, false, false,
    1, 1, 0, 1, 1741564800000, '00000000-0000-7000-8000-000000000001',
    null, null, null, 'refport', 'Sign Up', null, null, null, null, null, '2025-03-10');
insert into claims values (
    '00000000-0000-7000-8000-000000000001', 'refport', decode(repeat('ef', 16), 'hex'),
    '01957f3f-0000-7000-8000-000000000002', '2025-03-10', 2, null);
insert into event_aliases values (
    '01957f3f-0000-7000-8000-000000000003', '01957f3f-0000-7000-8000-000000000002');
insert into repeats values (
    1, 0, 1741564800000, 2, '01957f3f-0000-7000-8000-000000000003', '2025-03-10');
insert into quarantine (
    epoch, shard, entry_ms, entry_seq, reason, detail, payload, consumer, first_seen, last_seen)
values (1, 0, 1741564800000, 3, 'undecodable', '', '\x00', 'w1', '2025-03-10', '2025-03-10');

insert into stream_epochs (shard, entries_added, born_at, seen_at)
values (0, 4, '2025-03-01', '2025-03-10');
insert into ledger values (1, 0, 'w1', 2, 1, 1);
insert into link_days values (
    '00000000-0000-7000-8000-000000000005', '2025-03-10', 7, 6, 5, 4, 3);
insert into counter_base values (
    '00000000-0000-7000-8000-000000000005', '00000000-0000-7000-8000-000000000003', null,
    '2025-03-09', 6, 6, 5, 4, 3);

insert into milestones values (
    '00000000-0000-7000-8000-000000000007', '00000000-0000-7000-8000-000000000003',
    'first', 1, '2025-03-01');
insert into awards values (
    '00000000-0000-7000-8000-000000000007', '00000000-0000-7000-8000-000000000004',
    '01957f3f-0000-7000-8000-000000000002', '2025-03-10');
insert into switches values ('dialect', 'affitor', 'maintenance', '2025-03-10');
insert into limits values ('affitor', 60, '2025-03-10');
insert into replays (id, mode, requested, created_at)
values ('00000000-0000-7000-8000-000000000008', 'missing', '{}', '2025-03-10');

insert into detached_partitions values (
    'events_202502', '2025-02-01', '2025-03-01', true, 6, '2025-03-05');
insert into ledger_base values ('events_202502', 1, 0, 6);
insert into link_amounts values ('00000000-0000-7000-8000-000000000005', 'USD', 4900);
insert into program_partner_amounts values (
    '00000000-0000-7000-8000-000000000003', '00000000-0000-7000-8000-000000000004', 'USD', 4900);
insert into edge_appends values (1, 'edge-1', 4, '2025-03-10');
insert into pauses (cause, detail, consumer, paused_at) values ('bug', 'KeyError', 'w1', '2025-03-10');
insert into quarantine_dropped (
    epoch, shard, reason, first_ms, last_ms, entries, entry_ms, entry_seq, dropped_at)
values (1, 0, 'unknown_link', 1741564800000, 1741564800000, 1, '{1741564800000}', '{4}', '2025-03-10');
insert into quarantine_history (quarantine_id, at, who, action) values (1, '2025-03-10', 'operator', 'asked');
insert into quarantine_wakes (ref) values ('code - SPRING');
insert into replay_parts (replay_id, shard) values ('00000000-0000-7000-8000-000000000008', 0);
insert into erasures (id, workspace_id, customer_id, customers, clicks, who, asked_at)
values (
    '00000000-0000-7000-8000-000000000009', '00000000-0000-7000-8000-000000000001',
    '00000000-0000-7000-8000-000000000006', '{}', '{}', 'operator', '2025-03-10');
insert into erasure_events values (
    '00000000-0000-7000-8000-000000000009', '01957f3f-0000-7000-8000-000000000002');
insert into erasure_leftovers (keys) values ('{k}');
insert into suppressions (erasure_id, workspace_id, hash)
values (
    '00000000-0000-7000-8000-000000000009', '00000000-0000-7000-8000-000000000001',
    decode(repeat('ab', 16), 'hex'));
insert into erasure_archives values ('host', '/archive', 1, 0, '2025-03-10');
