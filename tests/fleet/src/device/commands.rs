//! How a simulated device obeys MAC commands (L2 §5).

use super::{Device, DeviceEvent, append};
use lorawan::Direction;
use lorawan::mac::{DownlinkCommand, Downlinks, LinkAdrReq, UplinkCommand};

/// What DevStatusAns reports: about four fifths of a battery.
const BATTERY: u8 = 203;

impl Device {
    /// Obeys the commands of one downlink in order and queues the answers.
    pub(super) fn obey(&mut self, bytes: &[u8]) {
        let mut commands = Downlinks::new(bytes).peekable();
        while let Some(command) = commands.next() {
            if let DownlinkCommand::LinkAdrReq(first) = command {
                // Contiguous LinkADRReq are one request, all or nothing (L2 §5.3).
                let mut block = vec![first];
                while let Some(DownlinkCommand::LinkAdrReq(next)) =
                    commands.next_if(|command| matches!(command, DownlinkCommand::LinkAdrReq(_)))
                {
                    block.push(next);
                }
                self.adapt(&block);
            } else {
                self.obey_one(command);
            }
        }
    }

    fn adapt(&mut self, block: &[LinkAdrReq]) {
        let (plan, keeps) = (self.plan, self.config.mac_version.keeps_with_fifteen());
        let (Some(session), Some(last)) = (&mut self.session, block.last()) else { return };
        let channels = block.iter().try_fold(session.channels.clone(), |channels, request| channels.after(request));
        let data_rate = if keeps && last.data_rate == 15 { session.data_rate } else { last.data_rate };
        let data_rate_ok = channels.as_ref().unwrap_or(&session.channels).allows(plan, data_rate);
        let power_ok = last.tx_power <= plan.tx_power_max || keeps && last.tx_power == 15;
        let answer = UplinkCommand::LinkAdrAns { power_ok, data_rate_ok, channel_mask_ok: channels.is_some() };
        if let (Some(channels), true, true) = (channels, data_rate_ok, power_ok) {
            session.channels = channels;
            session.data_rate = data_rate;
            session.nb_trans = last.nb_trans.max(1);
        }
        // One answer for each request, all alike.
        block.iter().for_each(|_| append(&mut session.commands, answer));
    }

    fn obey_one(&mut self, command: DownlinkCommand) {
        let (plan, margin_db) = (self.plan, self.heard_snr_db.clamp(-32, 31));
        let Some(session) = &mut self.session else { return };
        match command {
            DownlinkCommand::LinkCheckAns { margin_db, gateway_count } => {
                self.event(DeviceEvent::LinkChecked { margin_db, gateway_count });
            }
            DownlinkCommand::DeviceTimeAns { gps_seconds, .. } => self.event(DeviceEvent::TimeTold { gps_seconds }),
            DownlinkCommand::DutyCycleReq { .. } => append(&mut session.commands, UplinkCommand::DutyCycleAns),
            DownlinkCommand::DevStatusReq => {
                append(&mut session.commands, UplinkCommand::DevStatusAns { battery: BATTERY, margin_db });
            }
            DownlinkCommand::RxParamSetupReq { dl_settings, frequency_hz } => {
                let rx1_dr_offset_ok = dl_settings.rx1_dr_offset <= plan.rx1_dr_offset_max();
                let rx2_data_rate_ok = plan.rate(dl_settings.rx2_data_rate, Direction::Down).is_some();
                let channel_ok = plan.holds(frequency_hz);
                if rx1_dr_offset_ok && rx2_data_rate_ok && channel_ok {
                    session.rx1_dr_offset = dl_settings.rx1_dr_offset;
                    session.rx2_data_rate = dl_settings.rx2_data_rate;
                    session.rx2_frequency_hz = frequency_hz;
                }
                let answer = UplinkCommand::RxParamSetupAns { rx1_dr_offset_ok, rx2_data_rate_ok, channel_ok };
                append(&mut session.sticky, answer);
            }
            DownlinkCommand::NewChannelReq { index, frequency_hz, data_rate_max, data_rate_min } => {
                let rates = (data_rate_min, data_rate_max);
                if let Some((data_rate_range_ok, frequency_ok)) =
                    session.channels.define(plan, index, frequency_hz, rates)
                {
                    append(&mut session.commands, UplinkCommand::NewChannelAns { data_rate_range_ok, frequency_ok });
                }
            }
            DownlinkCommand::RxTimingSetupReq { delay_s } => {
                session.rx1_delay_s = delay_s.max(1);
                append(&mut session.sticky, UplinkCommand::RxTimingSetupAns);
            }
            DownlinkCommand::DlChannelReq { index, frequency_hz } => {
                if let Some((uplink_frequency_exists, frequency_ok)) =
                    session.channels.move_downlink(plan, index, frequency_hz)
                {
                    append(&mut session.sticky, UplinkCommand::DlChannelAns { uplink_frequency_exists, frequency_ok });
                }
            }
            // TXParamSetupReq is silently dropped where the region has no dwell time; class B is not spoken.
            _ => {}
        }
    }
}
