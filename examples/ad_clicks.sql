-- Ad clicks in event time, over real impressions of a fashion shop.
--
-- `thalweg demo ad-clicks` writes the impressions to the topic `ad_impressions`, keyed by
-- item, and runs this file. Run it yourself against a server with
--   thalweg sql --server 127.0.0.1:5433 -f examples/ad_clicks.sql

CREATE SOURCE impressions (
  shown_at    TIMESTAMP,
  campaign    TEXT,
  policy      TEXT,
  item_id     INT,
  slot        INT,
  clicked     INT,
  propensity  DOUBLE,
  WATERMARK FOR shown_at AS shown_at - INTERVAL '5' SECOND
) WITH (connector = 'kafka', topic = 'ad_impressions') FORMAT PLAIN ENCODE JSON;

-- Impressions, clicks and click-through rate of each campaign and policy, hour by hour.
CREATE MATERIALIZED VIEW hourly AS
SELECT campaign, policy, window_start, window_end,
       COUNT(*)                       AS impressions,
       SUM(clicked)                   AS clicks,
       AVG(CAST(clicked AS DOUBLE))   AS click_through_rate,
       COUNT(DISTINCT item_id)        AS items
FROM TUMBLE(impressions, shown_at, INTERVAL '1 hour')
GROUP BY campaign, policy, window_start, window_end;

-- Every item with its clicks; the top items are a query over this view.
CREATE MATERIALIZED VIEW items AS
SELECT campaign, item_id,
       COUNT(*)      AS impressions,
       SUM(clicked)  AS clicks,
       MIN(shown_at) AS first_shown,
       MAX(shown_at) AS last_shown
FROM impressions
GROUP BY campaign, item_id;

-- A view over a view: it follows each correction of the hours below it.
CREATE MATERIALIZED VIEW campaigns AS
SELECT campaign, COUNT(*) AS hours, SUM(impressions) AS impressions, SUM(clicks) AS clicks
FROM hourly
GROUP BY campaign;

-- The hourly results as a topic for everyone else.
CREATE SINK hourly_results FROM hourly
WITH (connector = 'kafka', topic = 'hourly_results') FORMAT UPSERT ENCODE JSON;
