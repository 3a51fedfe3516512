use super::*;
use std::io::Write;
use tracing::Callsite;

/// Where a test's log goes.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn count(&self, text: &str) -> usize {
        self.text().lines().filter(|line| line.contains(text)).count()
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Logs what `story` says to a page.
fn log(form: Form, filter: &str, story: impl FnOnce(&Calm)) -> Page {
    let (page, calm) = (Page::default(), Calm::default());
    let writer = page.clone();
    let subscriber = calm.clone().subscriber(form, filter, false, move || writer.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, || story(&calm));
    page
}

struct Words(&'static str);

impl limit::Spoken for Words {
    fn target(&self) -> &'static str {
        "room"
    }

    fn place(&self) -> (&'static str, u32) {
        ("house::room", 7)
    }

    fn write(&self, out: &mut dyn std::fmt::Write) -> std::fmt::Result {
        out.write_str(self.0)
    }
}

/// Two callsites, to be told apart.
fn callsites() -> [tracing::callsite::Identifier; 2] {
    let one = tracing::callsite! { name: "one", kind: tracing::metadata::Kind::EVENT, fields: message };
    let two = tracing::callsite! { name: "two", kind: tracing::metadata::Kind::EVENT, fields: message };
    [one.metadata().callsite(), two.metadata().callsite()]
}

#[test]
fn a_burst_is_held_back_and_counted_and_others_are_not() {
    let mut place = 0;
    let page = log(Form::Human, "info", |calm| {
        place = line!() + 2;
        for number in 0..500 {
            tracing::warn!(target: "room", number, "a door was shut");
        }
        // The same words from another place are another callsite.
        tracing::warn!(target: "room", number = 500, "a door was shut");
        tracing::warn!(target: "room", "another door");
        assert_eq!(calm.lock().due(Instant::now()), [], "the window has not passed");
        calm.say(calm.lock().due(Instant::now() + WINDOW));
        calm.say(calm.lock().due(Instant::now() + WINDOW));
    });
    assert_eq!(page.count("a door was shut"), LINE_COUNT_MAX + 2, "{}", page.text());
    assert_eq!(page.count("another door"), 1);
    let said = page.text().lines().last().unwrap().to_owned();
    assert!(said.contains("WARN lines like this one were held back count=480"), "{said}");
    assert!(said.contains("of=\"room\" line=\"a door was shut\""), "{said}");
    assert!(said.contains(&format!("at=\"logs::tests:{place}\"")), "{said}");
}

#[test]
fn what_the_filter_takes_out_counts_for_nothing() {
    let page = log(Form::Json, "error", |calm| {
        (0..500).for_each(|_| tracing::warn!(target: "room", "unwanted"));
        assert_eq!(calm.lock().rest(), []);
        (0..21).for_each(|_| tracing::error!(target: "room", "wanted"));
        calm.say(calm.lock().rest());
    });
    assert_eq!(page.count("unwanted"), 0);
    assert_eq!(page.count("\"count\":1,\"of\":\"room\""), 1, "{}", page.text());
}

#[test]
fn lines_flow_again_as_the_window_moves() {
    let ([one, two], mut limit, start) = (callsites(), Limit::default(), Instant::now());
    let at = |ms: u64| start + Duration::from_millis(ms);
    let line = Words("said");
    // One line every 100 ms: twenty in two seconds, then none until the first of them is ten seconds old.
    let admitted: Vec<u64> =
        (0..300).map(|step| step * 100).filter(|ms| limit.admit(one.clone(), &line, at(*ms))).collect();
    let expected: Vec<u64> = [0, 10_000, 20_000].iter().flat_map(|from| (0..20).map(move |n| from + n * 100)).collect();
    assert_eq!(admitted, expected, "at most twenty in any ten seconds");
    assert!(limit.admit(two, &line, at(29_900)), "another callsite is untouched");
    let held_back = HeldBack { count: 240, target: "room", line: "said".into(), at: "house::room:7".into() };
    assert_eq!(limit.due(at(30_000)), [held_back], "said once, whole");
    assert_eq!(limit.due(at(60_000)), []);
    assert!(limit.admit(one, &line, at(60_000)));
}

#[test]
fn a_long_line_is_repeated_in_part() {
    let long: &'static str = Box::leak("ü".repeat(1000).into_boxed_str());
    let ([one, _], mut limit, now) = (callsites(), Limit::default(), Instant::now());
    let admitted = (0..=LINE_COUNT_MAX).filter(|_| limit.admit(one.clone(), &Words(long), now)).count();
    assert_eq!(admitted, LINE_COUNT_MAX);
    assert_eq!(limit.rest()[0].line, "ü".repeat(100));
}

#[test]
fn an_unreadable_filter_is_an_error_that_names_it() {
    let error = Calm::default().subscriber(Form::Human, "a=b=c", false, io::sink).err().unwrap();
    assert!(error.starts_with("--log-filter a=b=c: "), "{error}");
}
