//! Image, compose stack and systemd unit, by the tools that know their formats. No engine runs them here.

use std::fs;

use serde_json::{Value, json};

use crate::tools::{self, run};

#[test]
fn a_dockerfile_linter_has_nothing_to_say() {
    assert_eq!(
        run("hadolint", &["--failure-threshold", "info", "Dockerfile"]),
        ""
    );
}

#[test]
fn the_image_runs_as_nobody_and_watches_its_health() {
    let file = tools::read("deploy/Dockerfile");
    let last = file.rsplit("\nFROM ").next().unwrap();
    for line in [
        "USER 65532:65532",
        "HEALTHCHECK ",
        "VOLUME /var/lib/reveille",
        "ENTRYPOINT [\"/usr/bin/reveille\"]",
    ] {
        assert!(last.contains(line), "the last stage has no {line}");
    }
    assert!(
        file.matches("\nFROM ").count() == 2,
        "what builds does not ship"
    );
}

#[test]
fn compose_takes_the_stack() {
    assert_eq!(
        run(
            "docker-compose",
            &["--file", "compose.yaml", "config", "--quiet"]
        ),
        ""
    );
}

#[test]
fn what_the_stack_mounts_exists_and_our_containers_write_nothing_but_their_volumes() {
    let stack = tools::yaml("deploy/compose.yaml");
    for (name, service) in stack["services"].as_object().unwrap() {
        for volume in service["volumes"].as_array().unwrap_or(&Vec::new()) {
            let Some(source) = volume.as_str().and_then(|text| text.split(':').next()) else {
                continue;
            };
            if source.starts_with("./") {
                assert!(
                    tools::path("deploy").join(source).exists(),
                    "{name}: {source}"
                );
            } else {
                assert!(
                    stack["volumes"][source] != Value::Null,
                    "{name}: no volume {source}"
                );
            }
        }
    }
    for name in ["setup", "sandbox", "broker", "console"] {
        let service = &stack["services"][name];
        let read_only = service["read_only"]
            .as_bool()
            .or(service["<<"]["read_only"].as_bool());
        assert_eq!(read_only, Some(true), "{name}");
    }
}

#[test]
fn the_stacks_key_can_be_made_twice_and_read_by_prometheus() {
    let stack = tools::yaml("deploy/compose.yaml");
    // Root without capabilities can neither read nor change the files that its first run has given away.
    assert_eq!(
        stack["services"]["setup"]["cap_add"],
        json!(["CHOWN", "DAC_OVERRIDE", "FOWNER"])
    );
    let user = stack["services"]["prometheus"]["user"].as_str().unwrap();
    let (owner, group) = user.split_once(':').unwrap();
    assert_eq!(owner, "65534", "who owns /prometheus in the image");
    let setup = tools::read("deploy/compose/setup.sh");
    let given = format!("chown -R {group}:{group} ");
    assert!(setup.contains(&given), "setup.sh has no {given:?}");
    assert!(setup.contains("chmod 0440 "), "the group may read the key");
}

#[test]
fn the_stack_publishes_on_this_machine_only() {
    let stack = tools::yaml("deploy/compose.yaml");
    let services = stack["services"].as_object().unwrap().values();
    let ports: Vec<&str> = services
        .filter_map(|service| service["ports"].as_array())
        .flat_map(|ports| ports.iter().filter_map(Value::as_str))
        .collect();
    assert_eq!(ports.len(), 3);
    assert!(
        ports.iter().all(|port| port.starts_with("127.0.0.1:")),
        "{ports:?}"
    );
}

#[test]
fn the_stacks_scripts_are_sound() {
    for script in tools::files("deploy/compose", ".sh") {
        run("sh", &["-n", &format!("compose/{script}")]);
        run(
            "shellcheck",
            &["--severity=style", &format!("compose/{script}")],
        );
    }
}

#[test]
fn the_stacks_prometheus_takes_its_configuration() {
    // Its paths are those inside the container.
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    for name in ["rules.yml", "alerts.yml"] {
        fs::copy(tools::path("deploy/prometheus").join(name), file(name)).unwrap();
    }
    fs::write(file("bearer"), "rvk_console_0").unwrap();
    let here = folder.path().to_str().unwrap();
    let text = tools::read("deploy/compose/prometheus.yml");
    let text = text
        .replace("/etc/prometheus", here)
        .replace("/etc/reveille", here);
    fs::write(file("prometheus.yml"), text).unwrap();
    run(
        "promtool",
        &["check", "config", file("prometheus.yml").to_str().unwrap()],
    );
}

#[test]
fn systemd_takes_the_unit_and_finds_it_well_confined() {
    // Installed nowhere here, the broker's program is stood in for by one that is.
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("reveille.service");
    let text = tools::read("deploy/reveille.service");
    fs::write(&unit, text.replace("/usr/bin/reveille ", "/bin/true ")).unwrap();
    let unit = unit.to_str().unwrap();
    assert_eq!(run("systemd-analyze", &["verify", "--man=no", unit]), "");
    // The exposure is ten times the figure: 1.5.
    run(
        "systemd-analyze",
        &["security", "--offline=true", "--threshold=15", unit],
    );
}
