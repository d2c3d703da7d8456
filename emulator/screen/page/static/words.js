// The pages' own words. What a card or a provider says is shown as it is.
const words = {
  en: {
    telephones: "Telephones",
    lead: "Open one and be the person who holds it: requests come to your page. While no page is open, each answers by itself.",
    all: "All telephones",
    off: "Switched off",
    idle: "No messages",
    open: "While this page is open, you are the one who answers.",
    itself: "While no page is open:",
    keys: "Keyboard: digits, ⌫, Enter\u00a0=\u00a0OK, Esc\u00a0=\u00a0cancel, M\u00a0=\u00a0menu",
    screen: "Screen",
    pad: "Keypad",
    menu: "Menu",
    ok: "OK",
    select: "Select",
    cancel: "Cancel",
    back: "Back",
    delete: "Delete",
    wait: "One moment…",
    lost: "Connection lost. Reconnecting…",
    paused: "Paused: other telephones are open in this browser. Press a key here to go on.",
    cancelled: "Cancelled",
    ended: "The request is no longer there.",
    unsent: "It could not be sent. Try again.",
    busy: "The card is busy. Try again in a moment.",
    digits: "digits",
    characters: "characters",
  },
  az: {
    telephones: "Telefonlar",
    lead: "Birini açın və onun sahibi olun: sorğular sizin səhifənizə gələcək. Səhifə açıq olmayanda telefon özü cavab verir.",
    all: "Bütün telefonlar",
    off: "Söndürülüb",
    idle: "Mesaj yoxdur",
    open: "Bu səhifə açıq olduqca cavab verən sizsiniz.",
    itself: "Səhifə açıq olmayanda:",
    keys: "Klaviatura: rəqəmlər, ⌫, Enter\u00a0=\u00a0OK, Esc\u00a0=\u00a0ləğv, M\u00a0=\u00a0menyu",
    screen: "Ekran",
    pad: "Düymələr",
    menu: "Menyu",
    ok: "OK",
    select: "Seç",
    cancel: "Ləğv et",
    back: "Geri",
    delete: "Sil",
    wait: "Gözləyin…",
    lost: "Əlaqə kəsildi. Yenidən qoşulur…",
    paused: "Fasilə: bu brauzerdə başqa telefonlar da açıqdır. Davam etmək üçün bir düyməni basın.",
    cancelled: "Ləğv edildi",
    ended: "Sorğu artıq yoxdur.",
    unsent: "Göndərmək alınmadı. Yenidən cəhd edin.",
    busy: "Kart məşğuldur. Bir azdan yenidən cəhd edin.",
    digits: "rəqəm",
    characters: "simvol",
  },
};

export const language = /^az\b/i.test(navigator.language) ? "az" : "en";
export const word = words[language];

// translate puts the words into a page that was written in English.
export function translate() {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-word]")) {
    element.textContent = word[element.dataset.word];
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", word[element.dataset.label]);
  }
}
