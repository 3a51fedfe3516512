//! The stages of which a server keeps time: what its metrics say of each, and what a trial added to it.
//!
//! Owns no list of them: a stage is whatever `trunkline_NAME_seconds` is a summary.

use std::collections::BTreeMap;

/// A stage. Seconds, all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stage {
    /// How often.
    pub count: u64,
    /// How long together.
    pub sum: f64,
    /// At these quantiles, since the server started: a trial has a server of its own.
    pub quantiles: Vec<(f64, f64)>,
}

impl Stage {
    /// How long one takes on average.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.sum / self.count.max(1) as f64
    }
}

/// Stages by name.
pub type Stages = BTreeMap<String, Stage>;

/// What metrics in Prometheus' form say of all stages. Shards add up; of quantiles the worst shard's counts.
#[must_use]
pub fn stages(metrics: &str) -> Stages {
    const SUMMARY: &str = "_seconds summary";
    let types = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE trunkline_")?.strip_suffix(SUMMARY));
    let mut all: Stages = types.map(|name| (name.to_owned(), Stage::default())).collect();
    for line in metrics.lines().filter_map(|line| line.strip_prefix("trunkline_")) {
        let Some((name, rest)) = line.split_once("_seconds") else { continue };
        let (Some(stage), Some((labels, value))) = (all.get_mut(name), rest.rsplit_once(' ')) else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        if labels.starts_with("_sum{") {
            stage.sum += value;
        } else if labels.starts_with("_count{") {
            stage.count += value as u64;
        } else if let Some(at) =
            labels.split("quantile=\"").nth(1).and_then(|rest| rest.split('"').next()?.parse().ok())
        {
            match stage.quantiles.iter_mut().find(|(known, _)| *known == at) {
                Some((_, worst)) => *worst = worst.max(value),
                None => stage.quantiles.push((at, value)),
            }
        }
    }
    all
}

/// What came between two looks. A stage that did not move is none.
#[must_use]
pub fn between(before: &Stages, after: Stages) -> Stages {
    let added = after.into_iter().map(|(name, mut stage)| {
        if let Some(before) = before.get(&name) {
            stage.count -= before.count.min(stage.count);
            stage.sum -= before.sum;
        }
        (name, stage)
    });
    added.filter(|(_, stage)| stage.count > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(count: [u64; 2], sum: [f64; 2]) -> String {
        format!(
            "# HELP trunkline_turn_seconds Work of a turn.\n# TYPE trunkline_turn_seconds summary\n\
             trunkline_turn_seconds{{shard=\"0\",quantile=\"0.5\"}} 0.000001000\n\
             trunkline_turn_seconds{{shard=\"0\",quantile=\"0.99\"}} 0.000004000\n\
             trunkline_turn_seconds{{shard=\"1\",quantile=\"0.99\"}} 0.000009000\n\
             trunkline_turn_seconds_sum{{shard=\"0\"}} {}\ntrunkline_turn_seconds_count{{shard=\"0\"}} {}\n\
             trunkline_turn_seconds_sum{{shard=\"1\"}} {}\ntrunkline_turn_seconds_count{{shard=\"1\"}} {}\n\
             # TYPE trunkline_hop_seconds summary\ntrunkline_hop_seconds_count{{shard=\"0\"}} 0\n\
             # TYPE trunkline_stream_retained_oldest_seconds gauge\n\
             trunkline_stream_retained_oldest_seconds{{stream=\"41\",name=\"kept\"}} 1.5\n",
            sum[0], count[0], sum[1], count[1]
        )
    }

    #[test]
    fn a_trial_is_what_came_between() {
        let before = stages(&said([2, 1], [0.5, 0.25]));
        let added = between(&before, stages(&said([6, 3], [1.5, 0.75])));
        assert_eq!(added.keys().collect::<Vec<_>>(), ["turn"], "what did not move, or is a gauge, is no stage");
        let turn = &added["turn"];
        assert_eq!((turn.count, turn.sum, turn.mean()), (6, 1.5, 0.25));
        assert_eq!(turn.quantiles, [(0.5, 0.000_001), (0.99, 0.000_009)], "of the worst shard");
        assert!(between(&before, before.clone()).is_empty() && stages("").is_empty());
    }
}
