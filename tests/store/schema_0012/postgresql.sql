SET check_function_bodies = false;

CREATE FUNCTION rollguard_bucket(duration_ms double precision) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $_$ SELECT CASE WHEN $1 IS NULL THEN -1 ELSE 529 - width_bucket(-$1, ARRAY[-100000000.0, -95316200.0, -90851800.0, -86596400.0, -82540400.0, -78674400.0, -74989400.0, -71477100.0, -68129200.0, -64938200.0, -61896600.0, -58997500.0, -56234100.0, -53600200.0, -51089700.0, -48696800.0, -46415900.0, -44241900.0, -42169700.0, -40194500.0, -38311900.0, -36517400.0, -34807000.0, -33176700.0, -31622800.0, -30141600.0, -28729800.0, -27384200.0, -26101600.0, -24879000.0, -23713700.0, -22603000.0, -21544300.0, -20535300.0, -19573400.0, -18656600.0, -17782800.0, -16949900.0, -16156000.0, -15399300.0, -14678000.0, -13990500.0, -13335200.0, -12710600.0, -12115300.0, -11547800.0, -11006900.0, -10491400.0, -10000000.0, -9531620.0, -9085180.0, -8659640.0, -8254040.0, -7867440.0, -7498940.0, -7147710.0, -6812920.0, -6493820.0, -6189660.0, -5899750.0, -5623410.0, -5360020.0, -5108970.0, -4869680.0, -4641590.0, -4424190.0, -4216970.0, -4019450.0, -3831190.0, -3651740.0, -3480700.0, -3317670.0, -3162280.0, -3014160.0, -2872980.0, -2738420.0, -2610160.0, -2487900.0, -2371370.0, -2260300.0, -2154430.0, -2053530.0, -1957340.0, -1865660.0, -1778280.0, -1694990.0, -1615600.0, -1539930.0, -1467800.0, -1399050.0, -1333520.0, -1271060.0, -1211530.0, -1154780.0, -1100690.0, -1049140.0, -1000000.0, -953162.0, -908518.0, -865964.0, -825404.0, -786744.0, -749894.0, -714771.0, -681292.0, -649382.0, -618966.0, -589975.0, -562341.0, -536002.0, -510897.0, -486968.0, -464159.0, -442419.0, -421697.0, -401945.0, -383119.0, -365174.0, -348070.0, -331767.0, -316228.0, -301416.0, -287298.0, -273842.0, -261016.0, -248790.0, -237137.0, -226030.0, -215443.0, -205353.0, -195734.0, -186566.0, -177828.0, -169499.0, -161560.0, -153993.0, -146780.0, -139905.0, -133352.0, -127106.0, -121153.0, -115478.0, -110069.0, -104914.0, -100000.0, -95316.2, -90851.8, -86596.4, -82540.4, -78674.4, -74989.4, -71477.1, -68129.2, -64938.2, -61896.6, -58997.5, -56234.1, -53600.2, -51089.7, -48696.8, -46415.9, -44241.9, -42169.7, -40194.5, -38311.9, -36517.4, -34807.0, -33176.7, -31622.8, -30141.6, -28729.8, -27384.2, -26101.6, -24879.0, -23713.7, -22603.0, -21544.3, -20535.3, -19573.4, -18656.6, -17782.8, -16949.9, -16156.0, -15399.3, -14678.0, -13990.5, -13335.2, -12710.6, -12115.3, -11547.8, -11006.9, -10491.4, -10000.0, -9531.62, -9085.18, -8659.64, -8254.04, -7867.44, -7498.94, -7147.71, -6812.92, -6493.82, -6189.66, -5899.75, -5623.41, -5360.02, -5108.97, -4869.68, -4641.59, -4424.19, -4216.97, -4019.45, -3831.19, -3651.74, -3480.7, -3317.67, -3162.28, -3014.16, -2872.98, -2738.42, -2610.16, -2487.9, -2371.37, -2260.3, -2154.43, -2053.53, -1957.34, -1865.66, -1778.28, -1694.99, -1615.6, -1539.93, -1467.8, -1399.05, -1333.52, -1271.06, -1211.53, -1154.78, -1100.69, -1049.14, -1000.0, -953.162, -908.518, -865.964, -825.404, -786.744, -749.894, -714.771, -681.292, -649.382, -618.966, -589.975, -562.341, -536.002, -510.897, -486.968, -464.159, -442.419, -421.697, -401.945, -383.119, -365.174, -348.07, -331.767, -316.228, -301.416, -287.298, -273.842, -261.016, -248.79, -237.137, -226.03, -215.443, -205.353, -195.734, -186.566, -177.828, -169.499, -161.56, -153.993, -146.78, -139.905, -133.352, -127.106, -121.153, -115.478, -110.069, -104.914, -100.0, -95.3162, -90.8518, -86.5964, -82.5404, -78.6744, -74.9894, -71.4771, -68.1292, -64.9382, -61.8966, -58.9975, -56.2341, -53.6002, -51.0897, -48.6968, -46.4159, -44.2419, -42.1697, -40.1945, -38.3119, -36.5174, -34.807, -33.1767, -31.6228, -30.1416, -28.7298, -27.3842, -26.1016, -24.879, -23.7137, -22.603, -21.5443, -20.5353, -19.5734, -18.6566, -17.7828, -16.9499, -16.156, -15.3993, -14.678, -13.9905, -13.3352, -12.7106, -12.1153, -11.5478, -11.0069, -10.4914, -10.0, -9.53162, -9.08518, -8.65964, -8.25404, -7.86744, -7.49894, -7.14771, -6.81292, -6.49382, -6.18966, -5.89975, -5.62341, -5.36002, -5.10897, -4.86968, -4.64159, -4.42419, -4.21697, -4.01945, -3.83119, -3.65174, -3.4807, -3.31767, -3.16228, -3.01416, -2.87298, -2.73842, -2.61016, -2.4879, -2.37137, -2.2603, -2.15443, -2.05353, -1.95734, -1.86566, -1.77828, -1.69499, -1.6156, -1.53993, -1.4678, -1.39905, -1.33352, -1.27106, -1.21153, -1.15478, -1.10069, -1.04914, -1.0, -0.953162, -0.908518, -0.865964, -0.825404, -0.786744, -0.749894, -0.714771, -0.681292, -0.649382, -0.618966, -0.589975, -0.562341, -0.536002, -0.510897, -0.486968, -0.464159, -0.442419, -0.421697, -0.401945, -0.383119, -0.365174, -0.34807, -0.331767, -0.316228, -0.301416, -0.287298, -0.273842, -0.261016, -0.24879, -0.237137, -0.22603, -0.215443, -0.205353, -0.195734, -0.186566, -0.177828, -0.169499, -0.16156, -0.153993, -0.14678, -0.139905, -0.133352, -0.127106, -0.121153, -0.115478, -0.110069, -0.104914, -0.1, -0.0953162, -0.0908518, -0.0865964, -0.0825404, -0.0786744, -0.0749894, -0.0714771, -0.0681292, -0.0649382, -0.0618966, -0.0589975, -0.0562341, -0.0536002, -0.0510897, -0.0486968, -0.0464159, -0.0442419, -0.0421697, -0.0401945, -0.0383119, -0.0365174, -0.034807, -0.0331767, -0.0316228, -0.0301416, -0.0287298, -0.0273842, -0.0261016, -0.024879, -0.0237137, -0.022603, -0.0215443, -0.0205353, -0.0195734, -0.0186566, -0.0177828, -0.0169499, -0.016156, -0.0153993, -0.014678, -0.0139905, -0.0133352, -0.0127106, -0.0121153, -0.0115478, -0.0110069, -0.0104914, -0.01, -0.00953162, -0.00908518, -0.00865964, -0.00825404, -0.00786744, -0.00749894, -0.00714771, -0.00681292, -0.00649382, -0.00618966, -0.00589975, -0.00562341, -0.00536002, -0.00510897, -0.00486968, -0.00464159, -0.00442419, -0.00421697, -0.00401945, -0.00383119, -0.00365174, -0.0034807, -0.00331767, -0.00316228, -0.00301416, -0.00287298, -0.00273842, -0.00261016, -0.0024879, -0.00237137, -0.0022603, -0.00215443, -0.00205353, -0.00195734, -0.00186566, -0.00177828, -0.00169499, -0.0016156, -0.00153993, -0.0014678, -0.00139905, -0.00133352, -0.00127106, -0.00121153, -0.00115478, -0.00110069, -0.00104914, -0.001]::float8[]) END $_$;

CREATE FUNCTION rollguard_merged(one bigint[], other bigint[]) RETURNS bigint[]
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT COALESCE(ARRAY[array_agg(bucket), array_agg(executions)], '{}') FROM (
        SELECT bucket, SUM(executions)::bigint AS executions FROM (
            SELECT * FROM unnest(one[1:1], one[2:2]) AS a (bucket, executions)
            UNION ALL
            SELECT * FROM unnest(other[1:1], other[2:2]) AS b (bucket, executions)
        ) AS added GROUP BY bucket
    ) AS merged
$$;

CREATE FUNCTION rollguard_note_executions() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO tool_execution_deltas (tool_name, version_number, minute, error_type, executions, successes, timed, duration_sum_ms, histogram)
    WITH counted AS (
        SELECT
            x.tool_name,
            COALESCE(x.version_number, 0) AS version_number,
            date_trunc('minute', x.executed_at, 'UTC') AS minute,
            CASE WHEN x.success THEN '' ELSE COALESCE(x.error_type, '') END AS error_type,
            CASE WHEN x.duration_ms IS NULL THEN -1 ELSE 529 - width_bucket(-x.duration_ms, ARRAY[-100000000.0, -95316200.0, -90851800.0, -86596400.0, -82540400.0, -78674400.0, -74989400.0, -71477100.0, -68129200.0, -64938200.0, -61896600.0, -58997500.0, -56234100.0, -53600200.0, -51089700.0, -48696800.0, -46415900.0, -44241900.0, -42169700.0, -40194500.0, -38311900.0, -36517400.0, -34807000.0, -33176700.0, -31622800.0, -30141600.0, -28729800.0, -27384200.0, -26101600.0, -24879000.0, -23713700.0, -22603000.0, -21544300.0, -20535300.0, -19573400.0, -18656600.0, -17782800.0, -16949900.0, -16156000.0, -15399300.0, -14678000.0, -13990500.0, -13335200.0, -12710600.0, -12115300.0, -11547800.0, -11006900.0, -10491400.0, -10000000.0, -9531620.0, -9085180.0, -8659640.0, -8254040.0, -7867440.0, -7498940.0, -7147710.0, -6812920.0, -6493820.0, -6189660.0, -5899750.0, -5623410.0, -5360020.0, -5108970.0, -4869680.0, -4641590.0, -4424190.0, -4216970.0, -4019450.0, -3831190.0, -3651740.0, -3480700.0, -3317670.0, -3162280.0, -3014160.0, -2872980.0, -2738420.0, -2610160.0, -2487900.0, -2371370.0, -2260300.0, -2154430.0, -2053530.0, -1957340.0, -1865660.0, -1778280.0, -1694990.0, -1615600.0, -1539930.0, -1467800.0, -1399050.0, -1333520.0, -1271060.0, -1211530.0, -1154780.0, -1100690.0, -1049140.0, -1000000.0, -953162.0, -908518.0, -865964.0, -825404.0, -786744.0, -749894.0, -714771.0, -681292.0, -649382.0, -618966.0, -589975.0, -562341.0, -536002.0, -510897.0, -486968.0, -464159.0, -442419.0, -421697.0, -401945.0, -383119.0, -365174.0, -348070.0, -331767.0, -316228.0, -301416.0, -287298.0, -273842.0, -261016.0, -248790.0, -237137.0, -226030.0, -215443.0, -205353.0, -195734.0, -186566.0, -177828.0, -169499.0, -161560.0, -153993.0, -146780.0, -139905.0, -133352.0, -127106.0, -121153.0, -115478.0, -110069.0, -104914.0, -100000.0, -95316.2, -90851.8, -86596.4, -82540.4, -78674.4, -74989.4, -71477.1, -68129.2, -64938.2, -61896.6, -58997.5, -56234.1, -53600.2, -51089.7, -48696.8, -46415.9, -44241.9, -42169.7, -40194.5, -38311.9, -36517.4, -34807.0, -33176.7, -31622.8, -30141.6, -28729.8, -27384.2, -26101.6, -24879.0, -23713.7, -22603.0, -21544.3, -20535.3, -19573.4, -18656.6, -17782.8, -16949.9, -16156.0, -15399.3, -14678.0, -13990.5, -13335.2, -12710.6, -12115.3, -11547.8, -11006.9, -10491.4, -10000.0, -9531.62, -9085.18, -8659.64, -8254.04, -7867.44, -7498.94, -7147.71, -6812.92, -6493.82, -6189.66, -5899.75, -5623.41, -5360.02, -5108.97, -4869.68, -4641.59, -4424.19, -4216.97, -4019.45, -3831.19, -3651.74, -3480.7, -3317.67, -3162.28, -3014.16, -2872.98, -2738.42, -2610.16, -2487.9, -2371.37, -2260.3, -2154.43, -2053.53, -1957.34, -1865.66, -1778.28, -1694.99, -1615.6, -1539.93, -1467.8, -1399.05, -1333.52, -1271.06, -1211.53, -1154.78, -1100.69, -1049.14, -1000.0, -953.162, -908.518, -865.964, -825.404, -786.744, -749.894, -714.771, -681.292, -649.382, -618.966, -589.975, -562.341, -536.002, -510.897, -486.968, -464.159, -442.419, -421.697, -401.945, -383.119, -365.174, -348.07, -331.767, -316.228, -301.416, -287.298, -273.842, -261.016, -248.79, -237.137, -226.03, -215.443, -205.353, -195.734, -186.566, -177.828, -169.499, -161.56, -153.993, -146.78, -139.905, -133.352, -127.106, -121.153, -115.478, -110.069, -104.914, -100.0, -95.3162, -90.8518, -86.5964, -82.5404, -78.6744, -74.9894, -71.4771, -68.1292, -64.9382, -61.8966, -58.9975, -56.2341, -53.6002, -51.0897, -48.6968, -46.4159, -44.2419, -42.1697, -40.1945, -38.3119, -36.5174, -34.807, -33.1767, -31.6228, -30.1416, -28.7298, -27.3842, -26.1016, -24.879, -23.7137, -22.603, -21.5443, -20.5353, -19.5734, -18.6566, -17.7828, -16.9499, -16.156, -15.3993, -14.678, -13.9905, -13.3352, -12.7106, -12.1153, -11.5478, -11.0069, -10.4914, -10.0, -9.53162, -9.08518, -8.65964, -8.25404, -7.86744, -7.49894, -7.14771, -6.81292, -6.49382, -6.18966, -5.89975, -5.62341, -5.36002, -5.10897, -4.86968, -4.64159, -4.42419, -4.21697, -4.01945, -3.83119, -3.65174, -3.4807, -3.31767, -3.16228, -3.01416, -2.87298, -2.73842, -2.61016, -2.4879, -2.37137, -2.2603, -2.15443, -2.05353, -1.95734, -1.86566, -1.77828, -1.69499, -1.6156, -1.53993, -1.4678, -1.39905, -1.33352, -1.27106, -1.21153, -1.15478, -1.10069, -1.04914, -1.0, -0.953162, -0.908518, -0.865964, -0.825404, -0.786744, -0.749894, -0.714771, -0.681292, -0.649382, -0.618966, -0.589975, -0.562341, -0.536002, -0.510897, -0.486968, -0.464159, -0.442419, -0.421697, -0.401945, -0.383119, -0.365174, -0.34807, -0.331767, -0.316228, -0.301416, -0.287298, -0.273842, -0.261016, -0.24879, -0.237137, -0.22603, -0.215443, -0.205353, -0.195734, -0.186566, -0.177828, -0.169499, -0.16156, -0.153993, -0.14678, -0.139905, -0.133352, -0.127106, -0.121153, -0.115478, -0.110069, -0.104914, -0.1, -0.0953162, -0.0908518, -0.0865964, -0.0825404, -0.0786744, -0.0749894, -0.0714771, -0.0681292, -0.0649382, -0.0618966, -0.0589975, -0.0562341, -0.0536002, -0.0510897, -0.0486968, -0.0464159, -0.0442419, -0.0421697, -0.0401945, -0.0383119, -0.0365174, -0.034807, -0.0331767, -0.0316228, -0.0301416, -0.0287298, -0.0273842, -0.0261016, -0.024879, -0.0237137, -0.022603, -0.0215443, -0.0205353, -0.0195734, -0.0186566, -0.0177828, -0.0169499, -0.016156, -0.0153993, -0.014678, -0.0139905, -0.0133352, -0.0127106, -0.0121153, -0.0115478, -0.0110069, -0.0104914, -0.01, -0.00953162, -0.00908518, -0.00865964, -0.00825404, -0.00786744, -0.00749894, -0.00714771, -0.00681292, -0.00649382, -0.00618966, -0.00589975, -0.00562341, -0.00536002, -0.00510897, -0.00486968, -0.00464159, -0.00442419, -0.00421697, -0.00401945, -0.00383119, -0.00365174, -0.0034807, -0.00331767, -0.00316228, -0.00301416, -0.00287298, -0.00273842, -0.00261016, -0.0024879, -0.00237137, -0.0022603, -0.00215443, -0.00205353, -0.00195734, -0.00186566, -0.00177828, -0.00169499, -0.0016156, -0.00153993, -0.0014678, -0.00139905, -0.00133352, -0.00127106, -0.00121153, -0.00115478, -0.00110069, -0.00104914, -0.001]::float8[]) END AS bucket,
            COUNT(*) AS executions,
            COUNT(*) FILTER (WHERE x.success) AS successes,
            COALESCE(SUM(x.duration_ms), 0) AS duration_sum_ms
        FROM arrived x
        GROUP BY 1, 2, 3, 4, 5
    )
    
SELECT tool_name, version_number, minute, error_type, SUM(executions), SUM(successes), SUM(CASE WHEN bucket >= 0 THEN executions ELSE 0 END),
       SUM(duration_sum_ms), COALESCE(ARRAY[array_agg(bucket::bigint) FILTER (WHERE bucket >= 0), array_agg(executions::bigint) FILTER (WHERE bucket >= 0)], '{}')
FROM counted GROUP BY tool_name, version_number, minute, error_type;
    INSERT INTO request_arrivals (tool_name, request_id)
    SELECT DISTINCT x.tool_name, x.request_id FROM arrived x WHERE x.request_id IS NOT NULL;
    PERFORM pg_notify('rollguard_executions', watched.tool_name)
    FROM (SELECT DISTINCT x.tool_name FROM arrived x) AS ran
    JOIN deployment_monitoring watched ON watched.tool_name = ran.tool_name AND watched.status = 'active';
    RETURN NULL;
END
$$;

CREATE FUNCTION rollguard_store_once() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    held timestamptz := rollguard_time_of_id(NEW.execution_id);
BEGIN
    IF held IS NULL THEN
        INSERT INTO execution_keys (execution_id, executed_at) VALUES (NEW.execution_id, NEW.executed_at)
        ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
    ELSIF held <> NEW.executed_at THEN
        RAISE check_violation USING MESSAGE = format(
            'execution_id %s is the id that Rollguard gave to an execution at %s, not at %s',
            NEW.execution_id, held, NEW.executed_at);
    ELSIF EXISTS (SELECT 1 FROM tool_executions x WHERE x.execution_id = NEW.execution_id
                  AND x.execution_id LIKE 'rg%' AND x.executed_at = NEW.executed_at) THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END
$$;

CREATE FUNCTION rollguard_time_of_id(execution_id text) RETURNS timestamp with time zone
    LANGUAGE sql IMMUTABLE STRICT
    AS $_$
    SELECT CASE WHEN execution_id ~ '^rg[01][0-9a-f]{29}$' THEN
        'epoch'::timestamptz + ('x' || substr(execution_id, 3, 14))::bit(56)::bigint * interval '1 microsecond' END
$_$;

CREATE TABLE deployment_health_checks (
    check_id integer NOT NULL,
    tool_name character varying(255) NOT NULL,
    session_id integer,
    checked_at timestamp with time zone DEFAULT now() NOT NULL,
    baseline_success_rate double precision,
    baseline_total_executions integer,
    baseline_avg_duration_ms double precision,
    current_success_rate double precision,
    current_total_executions integer,
    current_avg_duration_ms double precision,
    baseline_p50_ms double precision,
    baseline_p95_ms double precision,
    baseline_p99_ms double precision,
    current_p50_ms double precision,
    current_p95_ms double precision,
    current_p99_ms double precision,
    success_rate_drop double precision,
    duration_change double precision,
    performance_degradation boolean DEFAULT false NOT NULL,
    regression_detected boolean DEFAULT false NOT NULL,
    regression_severity character varying(20),
    needs_rollback boolean DEFAULT false NOT NULL,
    verdict character varying(20),
    reasons text,
    record text
);

COMMENT ON COLUMN deployment_health_checks.reasons IS 'JSON list of sentences';

COMMENT ON COLUMN deployment_health_checks.record IS 'JSON: what the verdict can be computed from again';

CREATE TABLE deployment_monitoring (
    session_id integer NOT NULL,
    tool_name character varying(255) NOT NULL,
    deployment_time timestamp with time zone NOT NULL,
    monitoring_started_at timestamp with time zone DEFAULT now() NOT NULL,
    monitoring_window_hours integer DEFAULT 24 NOT NULL,
    baseline_window_days integer DEFAULT 7 NOT NULL,
    regression_threshold double precision DEFAULT 0.15 NOT NULL,
    status character varying(50) DEFAULT 'active'::character varying NOT NULL,
    completed_at timestamp with time zone,
    notes text,
    min_executions integer DEFAULT 10 NOT NULL,
    alpha double precision DEFAULT 0.05 NOT NULL,
    delta double precision DEFAULT 0 NOT NULL,
    version_number integer,
    live_before timestamp with time zone,
    outcome character varying(20),
    baseline text,
    decision character varying(20) DEFAULT 'threshold'::character varying NOT NULL,
    fast_triggers character varying(20) DEFAULT 'with_evidence'::character varying NOT NULL,
    rollback_on_slowdown boolean DEFAULT false NOT NULL,
    hold_on_external boolean,
    caller_errors text DEFAULT '[]'::text NOT NULL,
    collapse_retries double precision DEFAULT 0 NOT NULL,
    baseline_rule character varying(20) DEFAULT 'before'::character varying NOT NULL,
    extend_until_sufficient integer DEFAULT 0 NOT NULL,
    baseline_notes text,
    mode character varying(10) DEFAULT 'act'::character varying NOT NULL,
    max_rollbacks_per_day integer DEFAULT 3 NOT NULL,
    watched_by character varying(255),
    watched_until timestamp with time zone,
    CONSTRAINT ck_deployment_monitoring_alpha CHECK (((alpha > (0)::double precision) AND (alpha < (0.5)::double precision))),
    CONSTRAINT ck_deployment_monitoring_baseline_rule CHECK (((baseline_rule)::text = ANY ((ARRAY['before'::character varying, 'same_hours'::character varying])::text[]))),
    CONSTRAINT ck_deployment_monitoring_baseline_window_days CHECK (((baseline_window_days >= 1) AND (baseline_window_days <= 365))),
    CONSTRAINT ck_deployment_monitoring_caller_errors CHECK ((caller_errors ~~ '[%]'::text)),
    CONSTRAINT ck_deployment_monitoring_closed CHECK ((((status)::text = 'active'::text) = (completed_at IS NULL))),
    CONSTRAINT ck_deployment_monitoring_collapse_retries CHECK (((collapse_retries >= (0)::double precision) AND (collapse_retries <= (3600)::double precision))),
    CONSTRAINT ck_deployment_monitoring_decision CHECK (((decision)::text = ANY ((ARRAY['threshold'::character varying, 'evidence'::character varying])::text[]))),
    CONSTRAINT ck_deployment_monitoring_delta CHECK (((delta >= (0)::double precision) AND (delta < (1)::double precision))),
    CONSTRAINT ck_deployment_monitoring_extend_until_sufficient CHECK (((extend_until_sufficient >= 0) AND (extend_until_sufficient <= 8760))),
    CONSTRAINT ck_deployment_monitoring_fast_triggers CHECK (((fast_triggers)::text = ANY ((ARRAY['with_evidence'::character varying, 'alone'::character varying, 'off'::character varying])::text[]))),
    CONSTRAINT ck_deployment_monitoring_hold_on_external CHECK ((hold_on_external = ANY (ARRAY[false, true]))),
    CONSTRAINT ck_deployment_monitoring_max_rollbacks_per_day CHECK (((max_rollbacks_per_day >= 0) AND (max_rollbacks_per_day <= 1000))),
    CONSTRAINT ck_deployment_monitoring_min_executions CHECK (((min_executions >= 1) AND (min_executions <= 1000000))),
    CONSTRAINT ck_deployment_monitoring_mode CHECK (((mode)::text = ANY ((ARRAY['act'::character varying, 'observe'::character varying])::text[]))),
    CONSTRAINT ck_deployment_monitoring_monitoring_window_hours CHECK (((monitoring_window_hours >= 1) AND (monitoring_window_hours <= 8760))),
    CONSTRAINT ck_deployment_monitoring_outcome CHECK (((outcome IS NULL) OR ((status)::text = 'completed'::text))),
    CONSTRAINT ck_deployment_monitoring_outcome_value CHECK (((outcome)::text = ANY ((ARRAY['healthy'::character varying, 'unproven'::character varying, 'regressed'::character varying])::text[]))),
    CONSTRAINT ck_deployment_monitoring_regression_threshold CHECK (((regression_threshold > (0)::double precision) AND (regression_threshold <= (1)::double precision))),
    CONSTRAINT ck_deployment_monitoring_rollback_on_slowdown CHECK ((rollback_on_slowdown = ANY (ARRAY[false, true]))),
    CONSTRAINT ck_deployment_monitoring_status CHECK (((status)::text = ANY ((ARRAY['active'::character varying, 'completed'::character varying, 'rolled_back'::character varying, 'superseded'::character varying, 'cancelled'::character varying])::text[])))
);

COMMENT ON COLUMN deployment_monitoring.version_number IS 'the version under watch; NULL counts executions by time alone';

COMMENT ON COLUMN deployment_monitoring.live_before IS 'when that version was last live before this deployment, if ever';

COMMENT ON COLUMN deployment_monitoring.outcome IS 'of a completed session: healthy, unproven or regressed';

COMMENT ON COLUMN deployment_monitoring.baseline IS 'JSON: the baseline''s counts, once they no longer change';

COMMENT ON COLUMN deployment_monitoring.baseline_notes IS 'JSON list: what is mixed in the baseline';

COMMENT ON COLUMN deployment_monitoring.mode IS 'act or observe';

COMMENT ON COLUMN deployment_monitoring.max_rollbacks_per_day IS 'automatic rollbacks of the tool in 24 hours; 0 is no limit';

COMMENT ON COLUMN deployment_monitoring.watched_by IS 'the watcher that looks after it';

COMMENT ON COLUMN deployment_monitoring.watched_until IS 'when another watcher may take it over';

CREATE VIEW active_monitoring AS
 SELECT m.session_id,
    m.tool_name,
    m.version_number,
    m.deployment_time,
    m.monitoring_started_at,
    m.monitoring_window_hours,
    ((EXTRACT(epoch FROM (now() - m.deployment_time)) / 3600.0))::double precision AS hours_elapsed,
    COALESCE(judged.regression_detected, false) AS regression_detected,
    judged.regression_severity AS latest_regression_severity,
    judged.success_rate_drop AS latest_success_rate_drop,
    latest.verdict AS latest_verdict,
    latest.checked_at AS latest_check_at,
    ( SELECT count(*) AS count
           FROM deployment_health_checks c
          WHERE (c.session_id = m.session_id)) AS check_count
   FROM ((deployment_monitoring m
     LEFT JOIN deployment_health_checks latest ON ((latest.check_id = ( SELECT c.check_id
           FROM deployment_health_checks c
          WHERE (c.session_id = m.session_id)
          ORDER BY c.checked_at DESC, c.check_id DESC
         LIMIT 1))))
     LEFT JOIN deployment_health_checks judged ON ((judged.check_id = ( SELECT c.check_id
           FROM deployment_health_checks c
          WHERE ((c.session_id = m.session_id) AND ((COALESCE(c.verdict, ''::character varying))::text <> 'error'::text))
          ORDER BY c.checked_at DESC, c.check_id DESC
         LIMIT 1))))
  WHERE ((m.status)::text = 'active'::text);

CREATE SEQUENCE deployment_health_checks_check_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE deployment_health_checks_check_id_seq OWNED BY deployment_health_checks.check_id;

CREATE SEQUENCE deployment_monitoring_session_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE deployment_monitoring_session_id_seq OWNED BY deployment_monitoring.session_id;

CREATE TABLE deployment_rollbacks (
    rollback_id integer NOT NULL,
    tool_name character varying(255) NOT NULL,
    session_id integer,
    rollback_time timestamp with time zone DEFAULT now() NOT NULL,
    reason text NOT NULL,
    success_rate_drop double precision,
    regression_severity character varying(20),
    rollback_successful boolean NOT NULL,
    rollback_type character varying(20) DEFAULT 'threshold'::character varying NOT NULL,
    state character varying(20) DEFAULT 'finished'::character varying NOT NULL,
    from_version integer,
    to_version integer,
    requested_by character varying(255),
    attempts integer DEFAULT 1 NOT NULL,
    claimed_at timestamp with time zone,
    restored_at timestamp with time zone,
    finished_at timestamp with time zone,
    error text,
    investigation text,
    actuator character varying(20) DEFAULT 'folder'::character varying NOT NULL,
    sequence bigint,
    output text,
    next_attempt_at timestamp with time zone,
    quarantines boolean DEFAULT false NOT NULL,
    verified_at timestamp with time zone,
    verification_success boolean,
    verification_note text,
    CONSTRAINT ck_deployment_rollbacks_state CHECK (((state)::text = ANY ((ARRAY['claimed'::character varying, 'restored'::character varying, 'finished'::character varying, 'failed'::character varying, 'observed'::character varying, 'capped'::character varying, 'overtaken'::character varying])::text[]))),
    CONSTRAINT ck_deployment_rollbacks_successful CHECK (((NOT rollback_successful) OR ((state)::text = 'finished'::text))),
    CONSTRAINT ck_deployment_rollbacks_verified CHECK (((verified_at IS NULL) = (verification_success IS NULL)))
);

COMMENT ON COLUMN deployment_rollbacks.investigation IS 'JSON: error signatures since the deployment against before';

COMMENT ON COLUMN deployment_rollbacks.actuator IS 'folder, command or webhook';

COMMENT ON COLUMN deployment_rollbacks.sequence IS 'of the call outside that was acknowledged';

COMMENT ON COLUMN deployment_rollbacks.output IS 'what the actuator said, its end';

COMMENT ON COLUMN deployment_rollbacks.next_attempt_at IS 'not tried again before';

COMMENT ON COLUMN deployment_rollbacks.quarantines IS 'whether its end quarantines';

COMMENT ON COLUMN deployment_rollbacks.verified_at IS 'when enough calls of the restored version were seen';

COMMENT ON COLUMN deployment_rollbacks.verification_success IS 'whether the restored version recovered';

COMMENT ON COLUMN deployment_rollbacks.verification_note IS 'what was seen of it, or why nothing could be';

CREATE SEQUENCE deployment_rollbacks_rollback_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE deployment_rollbacks_rollback_id_seq OWNED BY deployment_rollbacks.rollback_id;

CREATE VIEW deployment_stability AS
 SELECT tool_name,
    count(*) AS total_deployments,
    sum(rolled_back) AS total_rollbacks,
    ((sum(rolled_back))::double precision / (count(*))::double precision) AS rollback_rate,
    avg(hours_to_rollback) AS avg_hours_to_rollback,
    avg(last_success_rate) AS avg_post_deployment_success_rate
   FROM ( SELECT m.tool_name,
                CASE
                    WHEN (r.rollback_id IS NULL) THEN 0
                    ELSE 1
                END AS rolled_back,
            ((EXTRACT(epoch FROM (r.rollback_time - m.deployment_time)) / 3600.0))::double precision AS hours_to_rollback,
            ( SELECT c.current_success_rate
                   FROM deployment_health_checks c
                  WHERE ((c.session_id = m.session_id) AND (c.current_total_executions > 0))
                  ORDER BY c.checked_at DESC, c.check_id DESC
                 LIMIT 1) AS last_success_rate
           FROM (deployment_monitoring m
             LEFT JOIN deployment_rollbacks r ON (((r.session_id = m.session_id) AND r.rollback_successful)))) d
  GROUP BY tool_name;

CREATE TABLE execution_keys (
    execution_id character varying(255) NOT NULL,
    executed_at timestamp with time zone NOT NULL
);

COMMENT ON TABLE execution_keys IS 'every execution_id of the callers'' own that is stored, across the partitions';

CREATE TABLE notifications (
    notification_id integer NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    event text NOT NULL,
    delivered_to text DEFAULT '[]'::text NOT NULL,
    delivered_at timestamp with time zone,
    attempts integer DEFAULT 0 NOT NULL,
    next_attempt_at timestamp with time zone NOT NULL,
    last_error text
);

COMMENT ON COLUMN notifications.delivered_to IS 'JSON list of channels';

CREATE SEQUENCE notifications_notification_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE notifications_notification_id_seq OWNED BY notifications.notification_id;

CREATE TABLE quarantined_code (
    quarantine_id integer NOT NULL,
    tool_name character varying(255) NOT NULL,
    sha256 character varying(64) NOT NULL,
    version_number integer NOT NULL,
    rollback_id integer NOT NULL,
    reason text NOT NULL,
    quarantined_at timestamp with time zone NOT NULL,
    noticed_at timestamp with time zone,
    lifted_at timestamp with time zone,
    lifted_by character varying(255),
    CONSTRAINT ck_quarantined_code_lifted CHECK (((lifted_at IS NULL) = (lifted_by IS NULL)))
);

COMMENT ON COLUMN quarantined_code.rollback_id IS 'the rollback that quarantined it';

COMMENT ON COLUMN quarantined_code.noticed_at IS 'since when the tool''s file holds it all the same';

CREATE SEQUENCE quarantined_code_quarantine_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE quarantined_code_quarantine_id_seq OWNED BY quarantined_code.quarantine_id;

CREATE TABLE request_arrivals (
    tool_name character varying(255) NOT NULL,
    request_id character varying(255) NOT NULL
);

COMMENT ON TABLE request_arrivals IS 'requests whose executions arrived and were not looked through yet';

CREATE TABLE rollguard_schema_version (
    version_num character varying(32) NOT NULL
);

CREATE TABLE rollup_state (
    only_row integer NOT NULL,
    rolled_to bigint NOT NULL,
    CONSTRAINT ck_rollup_state_only_row CHECK ((only_row = 1))
);

COMMENT ON COLUMN rollup_state.rolled_to IS 'SQLite: the last id that was rolled up';

CREATE SEQUENCE rollup_state_only_row_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE rollup_state_only_row_seq OWNED BY rollup_state.only_row;

CREATE TABLE superseded_executions (
    id bigint NOT NULL,
    tool_name character varying(255) NOT NULL,
    version_number integer,
    success boolean NOT NULL,
    duration_ms double precision,
    error_type character varying(255),
    executed_at timestamp with time zone NOT NULL
);

COMMENT ON TABLE superseded_executions IS 'executions whose request was tried again later: counted in the rollups, and taken off the counts';

COMMENT ON COLUMN superseded_executions.id IS 'of the row in tool_executions';

CREATE TABLE tool_actuations (
    tool_name character varying(255) NOT NULL,
    sequence bigint NOT NULL,
    held_by character varying(255),
    held_until timestamp with time zone,
    unsettled_since timestamp with time zone,
    attempts integer DEFAULT 0 NOT NULL,
    next_attempt_at timestamp with time zone,
    last_error text
);

COMMENT ON COLUMN tool_actuations.sequence IS 'of the latest call; it only rises';

COMMENT ON COLUMN tool_actuations.unsettled_since IS 'a call was begun then, and the books do not tell its end';

CREATE TABLE tool_deployments (
    deployment_id integer NOT NULL,
    tool_name character varying(255) NOT NULL,
    version_number integer NOT NULL,
    deployed_at timestamp with time zone NOT NULL,
    deployed_by character varying(255) NOT NULL,
    reason text,
    ended_at timestamp with time zone,
    ended_by character varying(20),
    kind character varying(20) DEFAULT 'deployment'::character varying NOT NULL,
    CONSTRAINT ck_tool_deployments_ended CHECK (((ended_at IS NULL) = (ended_by IS NULL))),
    CONSTRAINT ck_tool_deployments_ended_by CHECK (((ended_by)::text = ANY ((ARRAY['deployment'::character varying, 'rollback'::character varying])::text[]))),
    CONSTRAINT ck_tool_deployments_kind CHECK (((kind)::text = ANY ((ARRAY['deployment'::character varying, 'rollback'::character varying])::text[])))
);

COMMENT ON COLUMN tool_deployments.ended_by IS 'what took its place: a deployment or a rollback';

CREATE SEQUENCE tool_deployments_deployment_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE tool_deployments_deployment_id_seq OWNED BY tool_deployments.deployment_id;

CREATE TABLE tool_execution_deltas (
    tool_name character varying(255) CONSTRAINT tool_execution_deltas_tool_name_not_null1 NOT NULL,
    version_number integer CONSTRAINT tool_execution_deltas_version_number_not_null1 NOT NULL,
    minute timestamp with time zone CONSTRAINT tool_execution_deltas_minute_not_null1 NOT NULL,
    error_type character varying(255) DEFAULT ''::character varying CONSTRAINT tool_execution_deltas_error_type_not_null1 NOT NULL,
    executions bigint CONSTRAINT tool_execution_deltas_executions_not_null1 NOT NULL,
    successes bigint CONSTRAINT tool_execution_deltas_successes_not_null1 NOT NULL,
    timed bigint NOT NULL,
    duration_sum_ms double precision CONSTRAINT tool_execution_deltas_duration_sum_ms_not_null1 NOT NULL,
    histogram bigint[] NOT NULL
);

COMMENT ON TABLE tool_execution_deltas IS 'counted and not yet folded into the rollups';

COMMENT ON COLUMN tool_execution_deltas.timed IS 'executions with a duration';

COMMENT ON COLUMN tool_execution_deltas.histogram IS 'of their durations: bucket and executions';

CREATE TABLE tool_execution_rollups (
    tool_name character varying(255) CONSTRAINT tool_execution_rollups_tool_name_not_null1 NOT NULL,
    width integer CONSTRAINT tool_execution_rollups_width_not_null1 NOT NULL,
    start_at timestamp with time zone CONSTRAINT tool_execution_rollups_start_at_not_null1 NOT NULL,
    version_number integer CONSTRAINT tool_execution_rollups_version_number_not_null1 NOT NULL,
    error_type character varying(255) DEFAULT ''::character varying CONSTRAINT tool_execution_rollups_error_type_not_null1 NOT NULL,
    executions bigint CONSTRAINT tool_execution_rollups_executions_not_null1 NOT NULL,
    successes bigint CONSTRAINT tool_execution_rollups_successes_not_null1 NOT NULL,
    timed bigint NOT NULL,
    duration_sum_ms double precision CONSTRAINT tool_execution_rollups_duration_sum_ms_not_null1 NOT NULL,
    histogram bigint[] NOT NULL
);

COMMENT ON COLUMN tool_execution_rollups.width IS 'seconds: 60 or 3600';

COMMENT ON COLUMN tool_execution_rollups.version_number IS '0 where none was named';

COMMENT ON COLUMN tool_execution_rollups.timed IS 'executions with a duration';

COMMENT ON COLUMN tool_execution_rollups.histogram IS 'of their durations: bucket and executions';

CREATE TABLE tool_executions (
    id bigint NOT NULL,
    execution_id character varying(255),
    tool_name character varying(255) NOT NULL,
    version_number integer,
    success boolean NOT NULL,
    duration_ms double precision,
    error_type character varying(255),
    error text,
    parameters text,
    result text,
    executed_at timestamp with time zone DEFAULT now() NOT NULL,
    request_id character varying(255),
    CONSTRAINT ck_tool_executions_duration CHECK ((duration_ms >= (0)::double precision)),
    CONSTRAINT ck_tool_executions_duration_limit CHECK ((duration_ms <= ('1000000000000000'::numeric)::double precision))
)
PARTITION BY RANGE (executed_at);

COMMENT ON COLUMN tool_executions.execution_id IS 'the caller''s id of the call; a repeated one is stored once';

COMMENT ON COLUMN tool_executions.version_number IS 'the version that ran; NULL counts by time';

COMMENT ON COLUMN tool_executions.parameters IS 'JSON';

COMMENT ON COLUMN tool_executions.result IS 'JSON';

COMMENT ON COLUMN tool_executions.executed_at IS 'when the call began';

COMMENT ON COLUMN tool_executions.request_id IS 'executions that share one count once, with the last outcome';

CREATE SEQUENCE tool_executions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE tool_executions_id_seq OWNED BY tool_executions.id;

CREATE TABLE tool_executions_default (
    id bigint DEFAULT nextval('tool_executions_id_seq'::regclass) CONSTRAINT tool_executions_id_not_null NOT NULL,
    execution_id character varying(255),
    tool_name character varying(255) CONSTRAINT tool_executions_tool_name_not_null NOT NULL,
    version_number integer,
    success boolean CONSTRAINT tool_executions_success_not_null NOT NULL,
    duration_ms double precision,
    error_type character varying(255),
    error text,
    parameters text,
    result text,
    executed_at timestamp with time zone DEFAULT now() CONSTRAINT tool_executions_executed_at_not_null NOT NULL,
    request_id character varying(255),
    CONSTRAINT ck_tool_executions_duration CHECK ((duration_ms >= (0)::double precision)),
    CONSTRAINT ck_tool_executions_duration_limit CHECK ((duration_ms <= ('1000000000000000'::numeric)::double precision))
);

CREATE VIEW tool_health_history AS
 SELECT c.tool_name,
    c.session_id,
    c.check_id,
    c.checked_at,
    c.baseline_success_rate,
    c.baseline_total_executions,
    c.baseline_avg_duration_ms,
    c.baseline_p50_ms,
    c.baseline_p95_ms,
    c.baseline_p99_ms,
    c.current_success_rate,
    c.current_total_executions,
    c.current_avg_duration_ms,
    c.current_p50_ms,
    c.current_p95_ms,
    c.current_p99_ms,
    c.success_rate_drop,
    c.duration_change,
    c.performance_degradation,
    c.regression_detected,
    c.regression_severity,
    c.needs_rollback,
    c.verdict,
    m.deployment_time,
    m.status AS session_status
   FROM (deployment_health_checks c
     LEFT JOIN deployment_monitoring m ON ((m.session_id = c.session_id)));

CREATE TABLE tool_version_starts (
    tool_name character varying(255) NOT NULL,
    version_number integer NOT NULL,
    first_hour timestamp with time zone NOT NULL
);

COMMENT ON COLUMN tool_version_starts.version_number IS '0 where none was named';

CREATE TABLE tool_versions (
    version_id integer NOT NULL,
    tool_name character varying(255) NOT NULL,
    version_number integer NOT NULL,
    code bytea NOT NULL,
    sha256 character varying(64) NOT NULL,
    kind character varying(20) NOT NULL,
    created_by character varying(255) NOT NULL,
    reason text,
    parent_version integer,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT ck_tool_versions_kind CHECK (((kind)::text = ANY ((ARRAY['initial'::character varying, 'bugfix'::character varying, 'enhancement'::character varying, 'improvement'::character varying, 'edit'::character varying, 'rollback'::character varying])::text[]))),
    CONSTRAINT ck_tool_versions_number CHECK ((version_number >= 1))
);

COMMENT ON COLUMN tool_versions.code IS 'the file''s bytes, exactly';

CREATE SEQUENCE tool_versions_version_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE tool_versions_version_id_seq OWNED BY tool_versions.version_id;

CREATE VIEW version_history_with_metrics AS
 WITH lives AS (
         SELECT d_1.tool_name,
            d_1.version_number,
            d_1.from_at,
            d_1.to_at,
            date_trunc('minute'::text, ((d_1.from_at + '00:01:00'::interval) - '00:00:00.000001'::interval), 'UTC'::text) AS from_minute,
            date_trunc('minute'::text, d_1.to_at, 'UTC'::text) AS to_minute,
            date_trunc('hour'::text, ((d_1.from_at + '01:00:00'::interval) - '00:00:00.000001'::interval), 'UTC'::text) AS from_hour,
            date_trunc('hour'::text, d_1.to_at, 'UTC'::text) AS to_hour
           FROM ( SELECT tool_deployments.tool_name,
                    tool_deployments.version_number,
                    tool_deployments.deployed_at AS from_at,
                    COALESCE(tool_deployments.ended_at, '9999-12-31 00:00:00+00'::timestamp with time zone) AS to_at
                   FROM tool_deployments) d_1
        ), counted(tool_name, version_number, executions, successes, timed, duration_sum_ms) AS (
         SELECT x.tool_name,
            x.version_number,
            sum(x.executions) AS sum,
            sum(x.successes) AS sum,
            sum(x.timed) AS sum,
            sum(x.duration_sum_ms) AS sum
           FROM tool_execution_rollups x
          WHERE ((x.width = 3600) AND (x.version_number > 0))
          GROUP BY x.tool_name, x.version_number
        UNION ALL
         SELECT x.tool_name,
            x.version_number,
            sum(x.executions) AS sum,
            sum(x.successes) AS sum,
            sum(x.timed) AS sum,
            sum(x.duration_sum_ms) AS sum
           FROM tool_execution_deltas x
          WHERE (x.version_number > 0)
          GROUP BY x.tool_name, x.version_number
        UNION ALL
         SELECT l.tool_name,
            l.version_number,
            sum(x.executions) AS sum,
            sum(x.successes) AS sum,
            sum(x.timed) AS sum,
            sum(x.duration_sum_ms) AS sum
           FROM (lives l
             JOIN tool_execution_rollups x ON ((((x.tool_name)::text = (l.tool_name)::text) AND (x.width = 3600) AND (x.start_at >= l.from_hour) AND (x.start_at < l.to_hour) AND (x.version_number = 0))))
          GROUP BY l.tool_name, l.version_number
        UNION ALL
         SELECT l.tool_name,
            l.version_number,
            sum(x.executions) AS sum,
            sum(x.successes) AS sum,
            sum(x.timed) AS sum,
            sum(x.duration_sum_ms) AS sum
           FROM (lives l
             JOIN tool_execution_rollups x ON ((((x.tool_name)::text = (l.tool_name)::text) AND (x.width = 60) AND (x.start_at >= l.from_minute) AND (x.start_at < LEAST(l.from_hour, l.to_minute)) AND (x.version_number = 0))))
          GROUP BY l.tool_name, l.version_number
        UNION ALL
         SELECT l.tool_name,
            l.version_number,
            sum(x.executions) AS sum,
            sum(x.successes) AS sum,
            sum(x.timed) AS sum,
            sum(x.duration_sum_ms) AS sum
           FROM (lives l
             JOIN tool_execution_rollups x ON ((((x.tool_name)::text = (l.tool_name)::text) AND (x.width = 60) AND (x.start_at >= GREATEST(l.from_hour, l.to_hour)) AND (x.start_at < l.to_minute) AND (x.version_number = 0))))
          GROUP BY l.tool_name, l.version_number
        UNION ALL
         SELECT l.tool_name,
            l.version_number,
            sum(x.executions) AS sum,
            sum(x.successes) AS sum,
            sum(x.timed) AS sum,
            sum(x.duration_sum_ms) AS sum
           FROM (tool_execution_deltas x
             CROSS JOIN lives l)
          WHERE (((x.tool_name)::text = (l.tool_name)::text) AND (x.minute >= l.from_minute) AND (x.minute < l.to_minute) AND (x.version_number = 0))
          GROUP BY l.tool_name, l.version_number
        UNION ALL
         SELECT l.tool_name,
            l.version_number,
            count(*) AS count,
            sum(
                CASE
                    WHEN x.success THEN 1
                    ELSE 0
                END) AS sum,
            count(x.duration_ms) AS count,
            sum(x.duration_ms) AS sum
           FROM (lives l
             JOIN tool_executions x ON ((((x.tool_name)::text = (l.tool_name)::text) AND (x.executed_at >= l.from_at) AND (x.executed_at < LEAST(l.from_minute, l.to_at)) AND (x.version_number IS NULL))))
          GROUP BY l.tool_name, l.version_number
        UNION ALL
         SELECT l.tool_name,
            l.version_number,
            count(*) AS count,
            sum(
                CASE
                    WHEN x.success THEN 1
                    ELSE 0
                END) AS sum,
            count(x.duration_ms) AS count,
            sum(x.duration_ms) AS sum
           FROM (lives l
             JOIN tool_executions x ON ((((x.tool_name)::text = (l.tool_name)::text) AND (x.executed_at < l.to_at) AND (x.executed_at >= GREATEST(l.from_minute, l.to_minute)) AND (x.version_number IS NULL))))
          GROUP BY l.tool_name, l.version_number
        ), metrics AS (
         SELECT c.tool_name,
            c.version_number,
            sum(c.executions) AS executions,
            sum(c.successes) AS successes,
            sum(c.timed) AS timed,
            sum(c.duration_sum_ms) AS duration_sum_ms
           FROM counted c
          GROUP BY c.tool_name, c.version_number
        ), deployed AS (
         SELECT d_1.tool_name,
            d_1.version_number,
            max(
                CASE
                    WHEN (d_1.ended_at IS NULL) THEN 1
                    ELSE 0
                END) AS live,
            count(*) AS times,
            sum(
                CASE
                    WHEN ((d_1.kind)::text = 'rollback'::text) THEN 1
                    ELSE 0
                END) AS restored,
            sum(
                CASE
                    WHEN ((d_1.ended_by)::text = 'rollback'::text) THEN 1
                    ELSE 0
                END) AS rolled_back,
            min(d_1.deployed_at) AS first_at,
            max(d_1.deployed_at) AS last_at
           FROM tool_deployments d_1
          GROUP BY d_1.tool_name, d_1.version_number
        )
 SELECT v.tool_name,
    v.version_number,
    v.kind,
    v.created_by,
    v.created_at,
    v.reason,
    v.parent_version,
    v.sha256,
    (COALESCE(d.live, 0) > 0) AS is_live,
    COALESCE(d.times, (0)::bigint) AS times_deployed,
    COALESCE(d.restored, (0)::bigint) AS times_restored,
    d.first_at AS first_deployed_at,
    d.last_at AS last_deployed_at,
    (COALESCE(d.rolled_back, (0)::bigint) > 0) AS was_rolled_back,
        CASE
            WHEN (d.rolled_back > 0) THEN ( SELECT r.reason
               FROM deployment_rollbacks r
              WHERE (((r.tool_name)::text = (v.tool_name)::text) AND (r.from_version = v.version_number) AND r.rollback_successful)
              ORDER BY r.rollback_id DESC
             LIMIT 1)
            ELSE NULL::text
        END AS rolled_back_reason,
    (COALESCE(m.executions, (0)::numeric))::bigint AS executions,
    (COALESCE(m.successes, (0)::numeric))::bigint AS successes,
        CASE
            WHEN (m.executions > (0)::numeric) THEN ((m.successes)::double precision / (m.executions)::double precision)
            ELSE NULL::double precision
        END AS success_rate,
        CASE
            WHEN (m.timed > (0)::numeric) THEN (m.duration_sum_ms / (m.timed)::double precision)
            ELSE NULL::double precision
        END AS avg_duration_ms
   FROM ((tool_versions v
     LEFT JOIN deployed d ON ((((d.tool_name)::text = (v.tool_name)::text) AND (d.version_number = v.version_number))))
     LEFT JOIN metrics m ON ((((m.tool_name)::text = (v.tool_name)::text) AND (m.version_number = v.version_number))));

CREATE VIEW version_stability AS
 SELECT tool_name,
    count(*) AS versions,
    sum(
        CASE
            WHEN (times > 0) THEN 1
            ELSE 0
        END) AS versions_deployed,
    sum(
        CASE
            WHEN (rolled_back > 0) THEN 1
            ELSE 0
        END) AS versions_rolled_back,
    (COALESCE(sum(deployed), (0)::numeric))::bigint AS deployments,
    (COALESCE(sum(rolled_back), (0)::numeric))::bigint AS rollbacks,
        CASE
            WHEN (sum(deployed) > (0)::numeric) THEN ((sum(rolled_back))::double precision / (sum(deployed))::double precision)
            ELSE NULL::double precision
        END AS rollback_rate,
        CASE
            WHEN (sum(times) > (0)::numeric) THEN (sum(hours_live) / (sum(times))::double precision)
            ELSE NULL::double precision
        END AS avg_hours_live,
    max(live) AS current_version,
    max(live_since) AS current_since
   FROM ( SELECT t.tool_name,
            t.version_number,
            count(d.deployment_id) AS times,
            sum(
                CASE
                    WHEN ((d.kind)::text = 'deployment'::text) THEN 1
                    ELSE 0
                END) AS deployed,
            sum(
                CASE
                    WHEN ((d.ended_by)::text = 'rollback'::text) THEN 1
                    ELSE 0
                END) AS rolled_back,
            sum(((EXTRACT(epoch FROM (COALESCE(d.ended_at, now()) - d.deployed_at)) / 3600.0))::double precision) AS hours_live,
            max(
                CASE
                    WHEN ((d.deployment_id IS NOT NULL) AND (d.ended_at IS NULL)) THEN d.version_number
                    ELSE NULL::integer
                END) AS live,
            max(
                CASE
                    WHEN (d.ended_at IS NULL) THEN d.deployed_at
                    ELSE NULL::timestamp with time zone
                END) AS live_since
           FROM (tool_versions t
             LEFT JOIN tool_deployments d ON ((((d.tool_name)::text = (t.tool_name)::text) AND (d.version_number = t.version_number))))
          GROUP BY t.tool_name, t.version_number) v
  GROUP BY tool_name;

ALTER TABLE ONLY tool_executions ATTACH PARTITION tool_executions_default DEFAULT;

ALTER TABLE ONLY deployment_health_checks ALTER COLUMN check_id SET DEFAULT nextval('deployment_health_checks_check_id_seq'::regclass);

ALTER TABLE ONLY deployment_monitoring ALTER COLUMN session_id SET DEFAULT nextval('deployment_monitoring_session_id_seq'::regclass);

ALTER TABLE ONLY deployment_rollbacks ALTER COLUMN rollback_id SET DEFAULT nextval('deployment_rollbacks_rollback_id_seq'::regclass);

ALTER TABLE ONLY notifications ALTER COLUMN notification_id SET DEFAULT nextval('notifications_notification_id_seq'::regclass);

ALTER TABLE ONLY quarantined_code ALTER COLUMN quarantine_id SET DEFAULT nextval('quarantined_code_quarantine_id_seq'::regclass);

ALTER TABLE ONLY rollup_state ALTER COLUMN only_row SET DEFAULT nextval('rollup_state_only_row_seq'::regclass);

ALTER TABLE ONLY tool_deployments ALTER COLUMN deployment_id SET DEFAULT nextval('tool_deployments_deployment_id_seq'::regclass);

ALTER TABLE ONLY tool_executions ALTER COLUMN id SET DEFAULT nextval('tool_executions_id_seq'::regclass);

ALTER TABLE ONLY tool_versions ALTER COLUMN version_id SET DEFAULT nextval('tool_versions_version_id_seq'::regclass);

ALTER TABLE ONLY deployment_health_checks
    ADD CONSTRAINT pk_deployment_health_checks PRIMARY KEY (check_id);

ALTER TABLE ONLY deployment_monitoring
    ADD CONSTRAINT pk_deployment_monitoring PRIMARY KEY (session_id);

ALTER TABLE ONLY deployment_rollbacks
    ADD CONSTRAINT pk_deployment_rollbacks PRIMARY KEY (rollback_id);

ALTER TABLE ONLY execution_keys
    ADD CONSTRAINT pk_execution_keys PRIMARY KEY (execution_id);

ALTER TABLE ONLY notifications
    ADD CONSTRAINT pk_notifications PRIMARY KEY (notification_id);

ALTER TABLE ONLY quarantined_code
    ADD CONSTRAINT pk_quarantined_code PRIMARY KEY (quarantine_id);

ALTER TABLE ONLY rollup_state
    ADD CONSTRAINT pk_rollup_state PRIMARY KEY (only_row);

ALTER TABLE ONLY superseded_executions
    ADD CONSTRAINT pk_superseded_executions PRIMARY KEY (id);

ALTER TABLE ONLY tool_actuations
    ADD CONSTRAINT pk_tool_actuations PRIMARY KEY (tool_name);

ALTER TABLE ONLY tool_deployments
    ADD CONSTRAINT pk_tool_deployments PRIMARY KEY (deployment_id);

ALTER TABLE ONLY tool_execution_rollups
    ADD CONSTRAINT pk_tool_execution_rollups PRIMARY KEY (tool_name, width, start_at, version_number, error_type);

ALTER TABLE ONLY tool_executions
    ADD CONSTRAINT pk_tool_executions PRIMARY KEY (id, executed_at);

ALTER TABLE ONLY tool_version_starts
    ADD CONSTRAINT pk_tool_version_starts PRIMARY KEY (tool_name, version_number);

ALTER TABLE ONLY tool_versions
    ADD CONSTRAINT pk_tool_versions PRIMARY KEY (version_id);

ALTER TABLE ONLY rollguard_schema_version
    ADD CONSTRAINT rollguard_schema_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY tool_executions_default
    ADD CONSTRAINT tool_executions_default_pkey PRIMARY KEY (id, executed_at);

ALTER TABLE ONLY deployment_rollbacks
    ADD CONSTRAINT uq_deployment_rollbacks_session_id UNIQUE (session_id);

ALTER TABLE ONLY tool_versions
    ADD CONSTRAINT uq_tool_versions_tool_name_sha256 UNIQUE (tool_name, sha256);

ALTER TABLE ONLY tool_versions
    ADD CONSTRAINT uq_tool_versions_tool_name_version_number UNIQUE (tool_name, version_number);

CREATE INDEX ix_deployment_health_checks_session_id ON deployment_health_checks USING btree (session_id, checked_at);

CREATE INDEX ix_deployment_health_checks_tool_name ON deployment_health_checks USING btree (tool_name, checked_at);

CREATE INDEX ix_deployment_monitoring_tool_name ON deployment_monitoring USING btree (tool_name, session_id);

CREATE INDEX ix_deployment_rollbacks_tool_name ON deployment_rollbacks USING btree (tool_name, rollback_time);

CREATE INDEX ix_deployment_rollbacks_unverified ON deployment_rollbacks USING btree (rollback_time) WHERE (((state)::text = 'finished'::text) AND (verification_note IS NULL));

CREATE INDEX ix_execution_keys_executed_at ON execution_keys USING btree (executed_at);

CREATE INDEX ix_notifications_pending ON notifications USING btree (next_attempt_at) WHERE (delivered_at IS NULL);

CREATE INDEX ix_superseded_executions_tool_name ON superseded_executions USING btree (tool_name, executed_at);

CREATE INDEX ix_tool_deployments_tool_name ON tool_deployments USING btree (tool_name, deployment_id);

CREATE INDEX ix_tool_executions_failed ON ONLY tool_executions USING btree (tool_name, executed_at) WHERE (NOT success);

CREATE INDEX ix_tool_executions_request_id ON ONLY tool_executions USING btree (tool_name, request_id) WHERE (request_id IS NOT NULL);

CREATE INDEX ix_tool_executions_tool_name_executed_at ON ONLY tool_executions USING btree (tool_name, executed_at);

CREATE UNIQUE INDEX uq_tool_executions_ours ON ONLY tool_executions USING btree (execution_id, executed_at) WHERE ((execution_id)::text ~~ 'rg%'::text);

CREATE UNIQUE INDEX tool_executions_default_execution_id_executed_at_idx ON tool_executions_default USING btree (execution_id, executed_at) WHERE ((execution_id)::text ~~ 'rg%'::text);

CREATE INDEX tool_executions_default_tool_name_executed_at_idx ON tool_executions_default USING btree (tool_name, executed_at);

CREATE INDEX tool_executions_default_tool_name_executed_at_idx1 ON tool_executions_default USING btree (tool_name, executed_at) WHERE (NOT success);

CREATE INDEX tool_executions_default_tool_name_request_id_idx ON tool_executions_default USING btree (tool_name, request_id) WHERE (request_id IS NOT NULL);

CREATE UNIQUE INDEX uq_deployment_monitoring_active ON deployment_monitoring USING btree (tool_name) WHERE ((status)::text = 'active'::text);

CREATE UNIQUE INDEX uq_deployment_rollbacks_open ON deployment_rollbacks USING btree (tool_name) WHERE ((state)::text = ANY ((ARRAY['claimed'::character varying, 'restored'::character varying])::text[]));

CREATE UNIQUE INDEX uq_quarantined_code_in_force ON quarantined_code USING btree (tool_name, sha256) WHERE (lifted_at IS NULL);

CREATE UNIQUE INDEX uq_tool_deployments_live ON tool_deployments USING btree (tool_name) WHERE (ended_at IS NULL);

ALTER INDEX uq_tool_executions_ours ATTACH PARTITION tool_executions_default_execution_id_executed_at_idx;

ALTER INDEX pk_tool_executions ATTACH PARTITION tool_executions_default_pkey;

ALTER INDEX ix_tool_executions_tool_name_executed_at ATTACH PARTITION tool_executions_default_tool_name_executed_at_idx;

ALTER INDEX ix_tool_executions_failed ATTACH PARTITION tool_executions_default_tool_name_executed_at_idx1;

ALTER INDEX ix_tool_executions_request_id ATTACH PARTITION tool_executions_default_tool_name_request_id_idx;

CREATE TRIGGER tool_executions_once BEFORE INSERT ON tool_executions FOR EACH ROW WHEN (((new.execution_id IS NOT NULL) AND (current_setting('rollguard.keyed'::text, true) IS DISTINCT FROM 'on'::text))) EXECUTE FUNCTION rollguard_store_once();

CREATE TRIGGER tool_executions_rollup AFTER INSERT ON tool_executions REFERENCING NEW TABLE AS arrived FOR EACH STATEMENT WHEN ((current_setting('rollguard.noted'::text, true) IS DISTINCT FROM 'on'::text)) EXECUTE FUNCTION rollguard_note_executions();

ALTER TABLE ONLY deployment_health_checks
    ADD CONSTRAINT fk_deployment_health_checks_session_id FOREIGN KEY (session_id) REFERENCES deployment_monitoring(session_id);

ALTER TABLE ONLY deployment_rollbacks
    ADD CONSTRAINT fk_deployment_rollbacks_session_id FOREIGN KEY (session_id) REFERENCES deployment_monitoring(session_id);

INSERT INTO rollguard_schema_version VALUES ('0012');

INSERT INTO rollup_state VALUES (1, 0);
