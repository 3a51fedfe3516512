//! What the network server counts: every refusal with its reason, and what it achieved.

base::counted! {
    /// Why something came to nothing.
    pub enum Drop {
        Malformed = "malformed": "The PHYPayload is no LoRaWAN frame.",
        FrameKind = "frame_kind": "The frame is of a kind that no device sends to this network server.",
        UnknownDevAddr = "unknown_dev_addr": "No session here has the frame's DevAddr.",
        BadMic = "bad_mic": "Sessions have the frame's DevAddr, but none its MIC.",
        TrialsExceeded = "trials_exceeded": "Sessions of that DevAddr were left untried: the bound of MIC trials was met.",
        Replay = "replay": "The frame's FCnt was used before, by another or an older frame.",
        FcntGap = "fcnt_gap": "The frame's FCnt is too far ahead of the last one.",
        DeviceDisabled = "device_disabled": "The device is disabled.",
        ProfileUnknown = "profile_unknown": "The device's profile is not in the plan.",
        WindowFull = "window_full": "A new frame found no free dedup window.",
        ReceptionsFull = "receptions_full": "A copy was counted but not listed: its event carries no more receptions.",
        RepeatRefused = "repeat_refused": "A repetition was not acknowledged again: too many, or too soon.",
        MacMalformed = "mac_malformed": "MAC commands ended in the middle, or with one that is unknown.",
        JoinUnknownDevice = "join_unknown_device": "A JoinRequest of a DevEUI that is unknown, or has no root key.",
        JoinEuiMismatch = "join_eui_mismatch": "A JoinRequest with another JoinEUI than the device's.",
        JoinBadMic = "join_bad_mic": "A JoinRequest whose MIC is not made with the device's root key.",
        JoinNonceReused = "join_nonce_reused": "A JoinRequest with a DevNonce that was used before.",
        PendingFull = "pending_full": "A join replaced the session at once: no room to keep both until the first uplink.",
        NotKept = "not_kept": "A change of a device's state could not be kept: what it implies was not said.",
        AnswerNotKept = "answer_not_kept": "What an answer implies was not kept in time for its receive windows.",
        AnswerTooLate = "answer_too_late": "No receive window was left in time for an answer.",
        AnswerUnheard = "answer_unheard": "An answer was given up: no gateway would transmit it.",
        TransmissionFull = "transmission_full": "No room to keep an answer while a gateway is asked.",
        TransmissionUnknown = "transmission_unknown": "A gateway spoke of a transmission that is over.",
        TransmissionRefused = "transmission_refused": "A gateway reported an error for a transmission.",
        TransmissionNoPath = "transmission_no_path": "There was no way to a gateway.",
        TransmissionSilent = "transmission_silent": "A gateway never said what became of a transmission.",
        FcntExhausted = "fcnt_exhausted": "A session used its last FCntDown.",
        DownlinkRefused = "downlink_refused": "A downlink was not queued; the caller was told why.",
        DownlinkFailed = "downlink_failed": "A queued downlink was given up; an event says why.",
    }
}

base::counted! {
    /// What was achieved.
    pub enum Achievement {
        Frames = "frames": "PHYPayloads received, copies included.",
        Uplinks = "uplinks": "Data frames accepted.",
        Copies = "copies": "Further copies of a frame within its dedup window.",
        LateCopies = "late_copies": "Copies that came after the window, but before the device could have repeated.",
        Repeats = "repeats": "Repetitions by devices that missed an answer.",
        JoinRequests = "join_requests": "JoinRequests heard, copies aside.",
        Joins = "joins": "Sessions offered by a JoinAccept.",
        SessionsConfirmed = "sessions_confirmed": "Joined sessions whose first uplink came.",
        Acknowledgements = "acknowledgements": "Answers that acknowledge an uplink.",
        MacAnswers = "mac_answers": "LinkCheckAns and DeviceTimeAns given.",
        MacRequests = "mac_requests": "MAC commands sent to devices.",
        MacAccepted = "mac_accepted": "MAC commands accepted by devices.",
        Answers = "answers": "Downlink frames built.",
        Fallbacks = "fallbacks": "Second attempts: another receive window or another gateway.",
        AnswersHeld = "answers_held": "Answers that waited until what they imply was kept.",
        Transmissions = "transmissions": "Transmissions that gateways took.",
        DownlinksQueued = "downlinks_queued": "Downlinks queued.",
        DownlinksSent = "downlinks_sent": "Queued downlinks handed to a gateway, repetitions included.",
        DownlinksAcknowledged = "downlinks_acknowledged": "Confirmed downlinks that the device acknowledged.",
    }
}
