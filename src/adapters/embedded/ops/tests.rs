//! Every change survives the way through the log.

use super::*;

#[test]
#[expect(clippy::too_many_lines, reason = "one of each kind of change")]
fn every_change_is_read_as_it_was_written() {
    let (tenant, device) = ("contoso", "d1");
    let key = Key { tenant, device };
    let (queue, due_ms) = ("contoso:bulk:direct", -5);
    let place = Some(Place { queue, due_ms });
    let record = Record {
        key,
        revision: 7,
        place,
        settles: true,
        bytes: b"x\0y",
        at: 0,
    };
    let ops = [
        Op::Checkpoint,
        Op::Record(record),
        Op::Moved(Record {
            place: None,
            ..record
        }),
        Op::Delete(key),
        Op::Place {
            key,
            place,
            settles: false,
        },
        Op::Count {
            tenant,
            name: "channels.live",
            by: -3,
        },
        Op::DropCounters { tenant, prefix: "" },
        Op::ListPut {
            tenant,
            list: "waiting/c",
            device,
            score: i64::MIN,
            text: "t",
        },
        Op::ListRemove {
            tenant,
            list: "waiting/c",
            device,
        },
        Op::Events {
            tenant,
            first: 9,
            count: 1,
            at_ms: 5,
            texts: b"\x01\0\0\0{",
        },
        Op::FeedEnds {
            tenant,
            oldest: 4,
            next: 10,
        },
        Op::Document {
            name: "a/b",
            version: 2,
            expires_ms: 0,
            bytes: b"",
        },
        Op::DocumentGone { name: "a/b" },
        Op::Fence {
            name: "f",
            epoch: u64::MAX,
        },
        Op::Lease {
            name: "l",
            owner: "o",
            epoch: 1,
        },
        Op::Park {
            tenant,
            flow: "",
            parked: true,
        },
        Op::Correction { ms: 3_600_000 },
        Op::Opened { times: 3 },
    ];
    let mut out = Vec::new();
    for op in &ops {
        op.write(&mut out);
    }

    let mut bytes = Bytes::new(&out);
    for op in ops {
        let mut read = Op::read(&mut bytes).unwrap();
        if let Op::Record(record) | Op::Moved(record) = &mut read {
            let content = record.at + RECORD_CHECKSUM_BYTES;
            assert_eq!(&out[record.at..content], record_checksum(b"x\0y"));
            assert_eq!(&out[content..content + 3], b"x\0y");
            record.at = 0;
        }
        assert_eq!(read, op);
    }
    assert!(bytes.is_empty());
}
