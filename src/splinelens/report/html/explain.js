// The figures need nothing beyond what all pages share.
Page.start({});
