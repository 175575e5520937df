//! The newcomer's command: `weir dev --demo --for .. -o json` ends well, and its numbers add up.

use std::process::Command;

use serde_json::Value;

#[test]
fn the_numbers_add_up() {
    let output = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["dev", "--demo", "--for", "8s", "-o", "json", "--listen", "127.0.0.1:0"])
        .env("WEIR_LOG", "warn")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let summary: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&summary["schema"], text.lines().count()), (&"weir.demo/v1".into(), 1), "only the summary");
    let stages = summary["stages"].as_object().unwrap();
    let of = |stage: &str, count: &str| stages[stage][count].as_u64().unwrap();
    assert_eq!(stages.len(), 4, "{summary}");
    for stage in stages.keys() {
        let outcomes = ["delivered", "filtered", "dead_lettered", "discarded"].map(|word| of(stage, word));
        assert_eq!(of(stage, "consumed"), outcomes.iter().sum::<u64>(), "{stage}: {summary}");
        assert_eq!(of(stage, "produced"), of(stage, "consumed"), "{stage}: {summary}");
        assert!(of(stage, "consumed") > 0, "{stage}: {summary}");
    }
    // The flow as a whole: each booking is paid or declined, a paid one gets a ticket, and every customer is told.
    let bookings = of("booking.payment", "delivered");
    assert_eq!(of("booking.payment", "published"), bookings);
    assert_eq!(of("booking.ticket", "published"), of("booking.ticket", "delivered"));
    assert_eq!(of("booking.notification", "consumed"), bookings);
    assert!(of("booking.ticket", "consumed") < bookings, "some cards are declined (402): {summary}");
    // The script did bite: requests were refused and tried again; some orders were not wanted, some refused for good.
    let attempts: u64 = stages.keys().map(|stage| of(stage, "attempts")).sum();
    let handled: u64 =
        stages.keys().map(|stage| of(stage, "delivered")).sum::<u64>() + of("order-billing", "dead_lettered");
    assert!(attempts > handled, "{summary}");
    assert!(of("order-billing", "filtered") > 0 && of("order-billing", "dead_lettered") > 0, "{summary}");
    assert!(
        errors.lines().any(|line| line.contains("booking.payment") && line.contains("delivered")),
        "{errors}"
    );
}
